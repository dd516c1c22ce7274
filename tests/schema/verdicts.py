"""What host and device say to one stream: it is taken, or refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import yaml

from emflow.problems import WorkflowProblem
from emflow.workflow.load import build
from emflow.workflow.source.document import parse
from emflow.workflow.variables.overrides import Overrides
from emflow_schema.configuration import from_configuration
from emflow_schema.edge_config import Stream
from emflow_schema.errors import ConfigProblem
from emflow_schema.key import fields

TABLE = Path(__file__).with_name("stream_verdicts.json")
DEMO = Path(__file__).parents[2] / "workflows" / "demo.yaml"

NOT_ABOUT_STREAMS = ("EM018", "EM019")
"""Where passwords and secrets may stand is another question than whether the device can read a stream."""


@functools.cache
def _demo() -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    return workflow


def on_device(stream: dict[str, Any]) -> str:
    """The component's verdict, by the keys of its configuration."""
    try:
        from_configuration(Stream, stream, "streams[0]")
    except ConfigProblem:
        return "refused"
    return "taken"


def on_host(stream: dict[str, Any]) -> str:
    """The verdict of `emflow validate`: schema and rules, by the same keys as a workflow has them."""
    names = {field.wire: field.name for field in fields(Stream)}
    edge = {"streams": [{names.get(key, key): value for key, value in stream.items()}]}
    workflow = {**_demo(), "edge": edge}
    try:
        build(parse("workflow.yaml", json.dumps(workflow).encode()), Overrides({}, (), {}), DEMO.parent)
    except WorkflowProblem as problem:
        wrong = [each for each in problem.findings if each.severity == "error" and each.code not in NOT_ABOUT_STREAMS]
        return "refused" if wrong else "taken"
    return "taken"
