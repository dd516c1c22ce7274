"""Manifests that nobody wrote: whatever bytes, JSON or names come, they are refused or taken, and lead nowhere else."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emflow_agent.errors import CannotLoad
from emflow_agent.models.folder import relative_parts
from emflow_agent.models.integrity import read_job_manifest, read_manifest


@given(st.binary(max_size=300))
def test_no_manifest_whatsoever_is_more_than_refused(content: bytes) -> None:
    for read in (read_manifest, read_job_manifest):
        with contextlib.suppress(CannotLoad):
            read(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"schemaVersion": st.just(1) | JSON, "files": JSON, "model": JSON, "target": JSON}))
def test_no_json_of_the_right_keys_is_more_than_refused(said: dict[str, Any]) -> None:
    with contextlib.suppress(CannotLoad):
        read_manifest(json.dumps(said).encode())
    with contextlib.suppress(CannotLoad):
        read_job_manifest(json.dumps({**said, "algorithm": "SHA-256"}).encode())


@given(st.text(min_size=1, max_size=12).map(lambda name: name.replace("x", "/").replace("y", "..")))
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    try:
        parts = relative_parts(name)
    except CannotLoad:
        return
    inside = Path("/package")
    assert inside in Path(os.path.normpath(inside / name)).parents
    assert "/".join(parts) == name
