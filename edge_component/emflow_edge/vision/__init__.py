"""Pixels into the model's input, and its output into what people call it."""
