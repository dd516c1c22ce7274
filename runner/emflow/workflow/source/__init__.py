"""Reads workflow files: YAML 1.2 with the position of every key and value, and imports."""
