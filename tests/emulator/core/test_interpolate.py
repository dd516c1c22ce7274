"""Recipe variables: those that are documented, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow_emulator.core.layout import Layout
from emflow_emulator.core.plan import ComponentValues, interpolate

ROOT = Path("/greengrass/v2")
ME = ComponentValues(
    "app", "1.2.3", {"topic": "em/inference", "deep": {"a/b": "x", "list": ["p", "q"]}, "flag": True, "n": 1.5}
)
MODEL = ComponentValues("model", "2.0.0", {"name": "net"})


def filled(text: str) -> str:
    return interpolate(text, ME, {"model": MODEL}, Layout(ROOT), "board")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("{artifacts:path}", "/greengrass/v2/packages/artifacts/app/1.2.3"),
        ("{artifacts:decompressedPath}/x", "/greengrass/v2/packages/artifacts-unarchived/app/1.2.3/x"),
        ("{work:path}", "/greengrass/v2/work/app"),
        ("{kernel:rootPath}", "/greengrass/v2"),
        ("{iot:thingName}", "board"),
        ("{configuration:/topic}", "em/inference"),
        ("{configuration:/deep/a~1b}", "x"),
        ("{configuration:/deep/list/1}", "q"),
        ("{configuration:/deep/list}", '["p","q"]'),
        ("{configuration:/flag} {configuration:/n}", "true 1.5"),
        ("{model:artifacts:path}", "/greengrass/v2/packages/artifacts/model/2.0.0"),
        ("{model:work:path}", "/greengrass/v2/work/model"),
        ("{model:configuration:/name}", "net"),
    ],
)
def test_documented_variables(variable: str, value: str) -> None:
    assert filled(f'run "{variable}"') == f'run "{value}"'


@pytest.mark.parametrize(
    "text",
    [
        "{configuration:/nothing}",
        "{configuration:topic}",
        "{unknown:configuration:/name}",
        "{unknown:thing}",
        "{artifacts:nonsense}",
        "${HOME} ${X:-1} {a,b} awk '{print $1}'",
        '{"json": "text", "more": {"a": 1}}',
    ],
)
def test_what_is_not_known_stays_as_it_is(text: str) -> None:
    assert filled(text) == text


def test_a_value_is_not_looked_through_again() -> None:
    me = ComponentValues("app", "1.0.0", {"a": "{work:path}"})

    assert interpolate("{configuration:/a}", me, {}, Layout(ROOT), "board") == "{work:path}"
