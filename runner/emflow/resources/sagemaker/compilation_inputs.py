"""What a compilation depends on. Compilation and packaging both need it, and each needs something of the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emflow.resources.kind import BuildContext
from emflow.resources.ownership import digest_of
from emflow.resources.s3.objects import model_object

COMPILATION = "model/compilation"


def compilation_inputs(
    source: str, shapes: Mapping[str, tuple[int, ...]], framework: str, target_device: str
) -> dict[str, Any]:
    """What the result depends on; neither the role nor the time limit is part of that."""
    return {
        "model": source,
        "inputs": {name: list(shape) for name, shape in shapes.items()},
        "framework": framework,
        "target_device": target_device,
    }


def compilation_digest(context: BuildContext) -> str:
    """The digest of what the workflow's compilation depends on. Raises Problem when the model is unusable."""
    model, target_device = context.workflow.cloud.model, context.workflow.cloud.compile.target_device
    return digest_of(compilation_inputs(model_object(context).uri, model.inputs, model.framework, target_device))
