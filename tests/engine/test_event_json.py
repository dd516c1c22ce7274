"""Events as JSON lines: each is what the schema says, and none carries a password."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator

from emflow.engine.events import (
    Done,
    Event,
    Failed,
    Finished,
    Left,
    Planned,
    Skipped,
    Started,
    Stopping,
    Waiting,
    Warned,
    event_as_json,
)
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action
from emflow.problems import Finding, Problem
from emflow_schema import load
from engine.things import World, thing

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
EVENTS = [
    Warned("there is no lock", "wait"),
    Warned.of(Finding("workflow.yaml", 3, 5, "EM081", "discontinued", severity="warning")),
    Planned(make_plan([thing("a")], World())),
    Started("a", Action.CREATE),
    Started("a", None),
    Waiting("a", "INPROGRESS", "queued"),
    Done("a", Action.REPLACE, 1.23456),
    Failed("a", Problem("it broke", where="s3:PutObject", mend="mend it")),
    Skipped("b", "a"),
    Stopping("interrupted by Ctrl-C"),
    Left("a", "", 1.0),
    Finished("applied", 2.0, {"a": Action.UPDATE}),
    Finished("failed", 2.0, problem=Problem("it broke")),
]


def test_every_kind_of_event_is_here():
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_each_is_what_the_schema_says(event):
    line = json.loads(json.dumps(event_as_json(event, AT)))
    Draft202012Validator(load("event")).validate(line)
    assert line["time"] == "2026-01-02T03:04:05.678Z"
    assert line["event"] == type(event).__name__.lower()


def test_the_schema_refuses_what_is_no_event():
    validator = Draft202012Validator(load("event"))
    line = event_as_json(Started("a", Action.CREATE), AT)
    assert not validator.is_valid({**line, "event": "exploded"})
    assert not validator.is_valid({**line, "action": "explode"})
    assert not validator.is_valid({key: value for key, value in line.items() if key != "resource"})


def test_passwords_become_stars():
    problem = Problem("cannot open rtsp://admin:s3cret@10.0.0.7/1")
    assert "s3cret" not in json.dumps(event_as_json(Failed("a", problem), AT))
