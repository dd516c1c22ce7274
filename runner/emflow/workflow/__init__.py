"""The workflow language: one YAML file with variables, schema and rules, and the typed `Workflow` that it becomes."""

from emflow.workflow.load import load
from emflow.workflow.model import Workflow

__all__ = ["Workflow", "load"]
