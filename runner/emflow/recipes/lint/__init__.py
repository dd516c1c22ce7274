"""Checks of a Greengrass recipe."""
