"""From one YAML file to a model running on a fleet of NPU boards, and its results back."""

__version__ = "0.1.0"
