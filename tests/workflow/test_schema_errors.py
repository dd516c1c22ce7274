"""The shape of a workflow: unknown, missing and wrong keys and values, each with its exact place and a way out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow import load

STREAM = "    - {name: front, url: rtsp://camera/stream}"


@pytest.mark.parametrize(
    ("old", "new", "mend"),
    [
        ("    artifact:", "    §artefact:", "did you mean `artifact`?"),
        ("  streams:", "  §stream:", "did you mean `streams`?"),
        ("    devices:", "    §Devices:", "did you mean `devices`?"),
        ("kind: W", "§knd: x\nkind: W", "did you mean `kind`?"),
        ("  capture:", "  §topic: x\n  capture:", "`topic` belongs under `edge.publish`"),
        ("  capture:", "  §fleet: x\n  capture:", "`fleet` belongs under `cloud`"),
        ("cloud:\n", "cloud:\n  §apiVersion: x\n", "`apiVersion` belongs at the top"),
        ("    enabled: false", "    §zzz: 1", "known keys: enabled, every, destination, disk_path"),
    ],
)
def test_an_unknown_key_is_reported_at_the_key(broken, old: str, new: str, mend: str) -> None:
    wrong = broken(old, new)
    assert (wrong.finding.code, wrong.place) == ("EM020", wrong.marked)
    assert wrong.finding.message.startswith("unknown key `")
    assert wrong.finding.mend.startswith(mend)


def test_a_missing_key_is_reported_at_what_should_hold_it(broken) -> None:
    wrong = broken("    artifact: scenes.tflite\n", "")
    assert (wrong.finding.code, wrong.place) == ("EM021", wrong.at("model:"))
    assert wrong.finding.message == "cloud.model needs the key `artifact`"


def test_a_missing_section_is_reported_at_the_top(broken_text) -> None:
    broken = broken_text("apiVersion: emflow/v1\nkind: Workflow\nmetadata: {name: x}\n")
    assert [(f.code, f.line, f.column) for f in broken.findings] == [("EM021", 1, 1)] * 2
    assert [f.message for f in broken.findings] == [
        "the workflow needs the key `cloud`",
        "the workflow needs the key `edge`",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message", "mend"),
    [
        (
            "name: scenes\n",
            "name: scenes\n    version: §1.10\n",
            "this is the number 1.10",
            'write "1.10", with quotes',
        ),
        ("name: scenes\n", "name: §224\n", "has to be a text", 'write "224", with quotes'),
        ("name: scenes\n", "§name:\n", "this is nothing", "write its value, or remove the line"),
        ("url:", "every: §1, url:", "has to be a text", 'for example: "1s"'),
        ("enabled: false", "enabled: §no", "has to be true or false", "write false"),
        ("enabled: false", "enabled: §'on'", "has to be true or false", "write true"),
        ("enabled: false", 'batch: §"10"', "has to be a whole number", "write 10, without quotes"),
        ("enabled: false", "batch: §10.0", "this is the number 10.0", "write 10, without a dot"),
        ("224, 224, 3]", "§224.0, 224, 3]", "this is the number 224.0", "write 224, without a dot"),
        ("enabled: false", "batch: §.inf", "this is the number .inf", "for example: 10"),
        ("enabled: false\n", "enabled: false\n  publish: {qos: §true}\n", "this is the boolean true", "for example: 1"),
        ("enabled: false", "batch: §1.5", "has to be a whole number", "for example: 10"),
        ("enabled: false", "batch: §true", "this is the boolean true", "for example: 10"),
        ('["{{ vars.thing }}"]', "§Core-001", "has to be a list", 'for example: ["iMX8'),
        ("{job: scenes-compiled}", "§scenes-compiled", "has to be a mapping of keys", "for example"),
        (STREAM, "    - §front", "has to be a mapping", "for example"),
        ("  capture:\n    enabled: false\n", "  §capture:\n", "this is nothing", "remove the line"),
    ],
)
def test_a_wrong_type_is_reported_at_the_value(broken, old: str, new: str, message: str, mend: str) -> None:
    wrong = broken(old, new)
    assert (wrong.finding.code, wrong.place) == ("EM022", wrong.marked)
    assert message in wrong.finding.message
    assert mend in wrong.finding.mend


@pytest.mark.parametrize(
    ("old", "new", "mend"),
    [
        ("kind: Workflow", "kind: §Deployment", "in this version it is always Workflow"),
        ("emflow/v1", "§emflow/v2", "in this version it is always emflow/v1"),
        ("cloud:\n", "cloud:\n  role: {policies: §least_privilege}\n", "did you mean `least-privilege`?"),
        ("  capture:", "  publish: {qos: §2}\n  capture:", "one of: 0, 1"),
        ("  capture:", "  agent: {provider: §other}\n  capture:", "in this version it is always edge-manager"),
    ],
)
def test_a_value_that_is_not_allowed_is_reported_with_those_that_are(broken, old: str, new: str, mend: str) -> None:
    wrong = broken(old, new)
    assert (wrong.finding.code, wrong.place) == ("EM023", wrong.marked)
    assert wrong.finding.mend == mend


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("224, 3]", "224, §0]", "has to be at least 1, this is 0"),
        ("{input: [1, 224, 224, 3]}", "§{}", "is empty"),
        (STREAM, "    §[]", "is empty"),
        ("cloud:\n", "aws: {region: §Frankfurt}\ncloud:\n", "cannot be 'Frankfurt'"),
        ("cloud:\n", "aws:\n  region: §|\n    us-east-1\ncloud:\n", r"cannot be 'us-east-1\n'"),
    ],
)
def test_a_value_outside_its_limits_is_reported(broken, old: str, new: str, message: str) -> None:
    wrong = broken(old, new)
    assert (wrong.finding.code, wrong.place) == ("EM024", wrong.marked)
    assert message in wrong.finding.message


def test_several_mistakes_are_reported_at_once_in_the_order_of_the_file(broken) -> None:
    wrong = broken("cloud:\n", "clod: 1\naws: {region: 1}\ncloud:\n  zzz: 1\n")
    assert [f.code for f in wrong.findings] == ["EM020", "EM022", "EM020"]
    assert [f.line for f in wrong.findings] == sorted(f.line for f in wrong.findings)


def test_the_type_of_a_variable_counts_where_it_is_used(broken) -> None:
    wrong = broken("enabled: false", 'batch: §"{{ vars.prefix }}"')
    assert (wrong.finding.code, wrong.place) == ("EM022", wrong.marked)


def test_a_long_text_with_braces_is_checked_soon(small: Path) -> None:
    """A template can make a text of millions of characters."""
    small.write_text(small.read_text().replace("name: small", "name: \"{{ '{{' * 1000000 }}\""))
    started = time.process_time()
    with pytest.raises(WorkflowProblem, match=r"metadata\.name cannot be"):
        load(small)
    assert time.process_time() - started < 5
