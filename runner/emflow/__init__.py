"""From one YAML file to a model running on a fleet of NPU boards, and its results back."""

from emflow_schema.version import __version__

__all__ = ["__version__"]
