"""Components of the user's own keep the rules of all components."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow import load

EXAMPLE = Path(__file__).parents[2] / "workflows" / "own-component.yaml"


@pytest.mark.parametrize(
    ("there", "instead", "code", "what"),
    [
        ("name: com.example.Heartbeat", "name: aws.greengrass.LogManager", "EM036", "is AWS's own component"),
        ("name: com.example.Heartbeat", "name: heart beat", "EM036", "a space is at character 6"),
        ("name: com.example.Heartbeat", "name: scenes_quantized_model_component", "EM042", "is here twice"),
        ("version: auto ", "version: newest ", "EM037", "'newest' is no component version"),
    ],
)
def test_a_rule_that_is_broken_is_reported_at_the_component(
    tmp_path: Path, there: str, instead: str, code: str, what: str
) -> None:
    for name in ("models", "components"):
        shutil.copytree(EXAMPLE.parent / name, tmp_path / name)
    text = EXAMPLE.read_text()
    assert text.count(there) == 1
    path = tmp_path / "own.yaml"
    path.write_text(text.replace(there, instead))
    with pytest.raises(WorkflowProblem) as told:
        load(path)
    line = max(i for i, each in enumerate(path.read_text().splitlines(), 1) if instead in each)
    (finding,) = [each for each in told.value.findings if each.severity == "error"]
    assert (finding.code, finding.line) == (code, line)
    assert what in finding.message
