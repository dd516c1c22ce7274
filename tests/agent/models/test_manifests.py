"""Manifests of packaging jobs that nobody wrote: whatever bytes, JSON or names come, they are refused or taken."""

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
from emflow_agent.models.job_package import read_job_manifest


@given(st.binary(max_size=300))
def test_no_manifest_whatsoever_is_more_than_refused(content: bytes) -> None:
    with contextlib.suppress(CannotLoad):
        read_job_manifest(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"files": JSON, "model_name": JSON, "algorithm": st.just("SHA-256") | JSON}))
def test_no_json_of_the_right_keys_is_more_than_refused(said: dict[str, Any]) -> None:
    with contextlib.suppress(CannotLoad):
        read_job_manifest(json.dumps(said).encode())


@given(st.text(min_size=1, max_size=12).map(lambda name: name.replace("x", "/").replace("y", "..")))
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    try:
        parts = relative_parts(name)
    except CannotLoad:
        return
    inside = Path("/package")
    assert inside in Path(os.path.normpath(inside / name)).parents
    assert "/".join(parts) == name
