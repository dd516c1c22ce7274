"""A component of less than a megabyte that would become hundreds: its deployment fails, and nothing is unpacked."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from emflow_emulator.core import artifacts
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.recipe import Artifact, Recipe


def test_a_component_that_would_fill_the_disk_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    data = io.BytesIO()
    with (
        zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w", force_zip64=True) as file,
    ):
        for _ in range(200):
            file.write(bytes(2**20))
    content = data.getvalue()
    assert len(content) < 2**20
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    artifact = Artifact("s3://bucket/app.zip", True, digest, "SHA-256")
    layout = Layout(tmp_path)

    def download(bucket: str, key: str, file: Path) -> None:
        file.write_bytes(content)

    with pytest.raises(
        DeploymentFailure, match=r"'s3://bucket/app.zip' of component app-1\.0\.0: unpacks from .* to 200 MiB"
    ):
        artifacts.fetch(Recipe("app", "1.0.0", artifacts=(artifact,)), layout, download)
    unpacked = [path for path in layout.unarchived("app", "1.0.0").rglob("*") if path.is_file()]
    assert unpacked == []
