"""Small things that requests are made of."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from emflow.local.aws import ACCOUNT, REGION


def recipe(name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """The least that a recipe has."""
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "Manifests": [{"Platform": {"os": "linux"}, "Lifecycle": {"run": "echo hello"}}],
        **more,
    }


def archive(**files: bytes) -> bytes:
    """A .tar.gz; `__` in a keyword is a dot in the file's name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def arn(service: str, resource: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{REGION}:{account}:{resource}"
