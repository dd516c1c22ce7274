"""Tensors as the wire has them: their description, and shared memory."""
