"""Preprocessing of frames, and decoding of classifier and detector outputs."""
