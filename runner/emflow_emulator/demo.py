"""The path of the demo workflow: inside the installed package, or in the checkout from which it was installed."""

from __future__ import annotations

from pathlib import Path

import emflow


def demo_workflow() -> Path:
    """The path of `demo.yaml`, with its model beside it."""
    package = Path(emflow.__file__).parent
    installed = package / "workflows" / "demo.yaml"
    return installed if installed.exists() else package.parents[1] / "workflows" / "demo.yaml"
