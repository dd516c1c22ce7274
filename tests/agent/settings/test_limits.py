"""The limits of the agent's numbers, which workflow and agent both have: a workflow that passes has to start."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from emflow.workflow.model.edge import Capture, OpenAgent
from emflow_agent.settings.config import Layer, read
from emflow_agent.settings.reading import BadSetting
from emflow_schema.key import Key, fields

KEYS = [field.shape.key for section in (Capture, OpenAgent) for field in fields(section) if field.shape.key.agent]
NUMBERS = [key for key in KEYS if key.low is not None]
WITHOUT_UNIT = [key for key in NUMBERS if key.unit != "seconds"]


def settings(name: str, number: Any) -> dict[str, str]:
    """One setting, with as small a batch or as large a buffer as it takes beside it."""
    others = {"CaptureDataBatchSize": "1", "CaptureDataBufferSize": "1000000"}
    return {**others, name: str(int(number))}


@pytest.mark.parametrize("key", NUMBERS, ids=[key.agent for key in NUMBERS])
def test_the_agent_takes_every_number_that_a_workflow_may_have(key: Key) -> None:
    assert key.agent
    assert key.low is not None
    assert key.high is not None
    for number in (key.low, key.high):
        read([Layer("the test", settings(key.agent, number))])


@pytest.mark.parametrize("key", WITHOUT_UNIT, ids=[key.agent for key in WITHOUT_UNIT])
def test_a_number_that_the_agent_refuses_is_refused_in_a_workflow(key: Key) -> None:
    assert key.agent
    assert key.low is not None
    assert key.high is not None
    for number in (key.low - 1, key.high + 1):
        with pytest.raises(BadSetting, match=key.agent):
            read([Layer("the test", settings(key.agent, number))])


@pytest.mark.parametrize(
    ("prefix", "fits"),
    [
        *((prefix, True) for prefix in ("sme-capture", "a/b", "/a/", "//a", "a.b/..c", ".a/b.", "a/b//")),
        *((prefix, False) for prefix in ("a//b", "./a", "a/.", "..", "a/../b", "/", "//", "/./a", "a/..//")),
    ],
)
def test_a_folder_prefix_is_judged_as_the_agent_judges_it(prefix: str, fits: bool) -> None:
    (key,) = (key for key in KEYS if key.agent == "FolderPrefix")
    assert bool(re.fullmatch(key.pattern, prefix)) == fits
    with contextlib.nullcontext() if fits else pytest.raises(BadSetting, match="FolderPrefix"):
        read([Layer("the test", {"FolderPrefix": prefix})])
