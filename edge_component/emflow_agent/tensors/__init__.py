"""Tensors of the interface: their specification, checks of what clients send, and shared memory."""
