"""The workflow language: one YAML file, its variables, its shape and rules, and the typed `Workflow` it becomes."""

from emflow.workflow.load import load
from emflow.workflow.model import Workflow

__all__ = ["Workflow", "load"]
