"""YAML with positions: reading files, imports, places for messages."""
