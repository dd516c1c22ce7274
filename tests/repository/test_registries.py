"""Each registry has everything that is there to be registered: what docs/architecture.md says under "To add …"."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import emflow.resources
import emflow_agent.runtimes
import emflow_edge.camera
from emflow.resources.kind import ResourceKind
from emflow.resources.registry import KINDS
from emflow.workflow.model import OpenAgent
from emflow_agent.runtimes import RUNTIMES
from emflow_edge.camera import registry as cameras
from emflow_schema.edge_config import Stream
from emflow_schema.key import field_of
from emflow_schema.stream_url import SCHEMES


def modules_of(package: ModuleType) -> list[ModuleType]:
    """All modules below a package."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(each.name) for each in found]


def test_every_kind_of_resource_that_a_module_declares_is_in_the_registry() -> None:
    declared = [
        value
        for module in modules_of(emflow.resources)
        for value in vars(module).values()
        if isinstance(value, ResourceKind)
    ]
    assert len(declared) > 10
    assert [kind for kind in declared if kind not in KINDS] == []


def test_every_runtime_of_the_agent_is_in_the_registry_and_a_workflow_can_name_it() -> None:
    with_key = [module for module in modules_of(emflow_agent.runtimes) if hasattr(module, "KEY")]
    assert sorted(module.KEY for module in with_key) == sorted(runtime.KEY for runtime in RUNTIMES)
    choices = field_of(OpenAgent, "runtime").shape.choices
    assert sorted(choices) == sorted(["auto", *(runtime.KEY for runtime in RUNTIMES)])


def test_every_url_scheme_of_a_stream_has_its_opener() -> None:
    kinds = {cameras.kind(Stream("front", f"{scheme}://camera/1")) for scheme in SCHEMES}
    kinds |= {cameras.kind(Stream("front", "rtsp://camera/1", pipeline="decodebin"))}
    kinds |= {cameras.kind(Stream("front", "rtsp://camera/1"), plain=True)}
    assert kinds == set(cameras._OPENERS)


@pytest.mark.parametrize("opener", cameras._OPENERS.values())
def test_every_opener_of_a_camera_is_there(opener: str) -> None:
    module, _, name = opener.partition(":")
    assert callable(getattr(importlib.import_module(f"{emflow_edge.camera.__name__}.{module}"), name))
