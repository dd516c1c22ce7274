"""Cameras: one module for each kind, and the reader that keeps them open and provides their newest frame."""
