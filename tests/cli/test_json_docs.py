"""The page on JSON shows what the schemas allow, and the schemas are schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from emflow_schema import load

PAGE = (Path(__file__).parents[2] / "docs" / "plan-json.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["plan", "event", "status"])
def test_each_schema_is_one_and_is_named_on_the_page(name):
    Draft202012Validator.check_schema(load(name))
    assert f"`{name}.schema.json`" in PAGE


def test_every_example_on_the_page_is_valid():
    plan, events = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    Draft202012Validator(load("plan")).validate(json.loads(plan))
    for line in events.splitlines():
        Draft202012Validator(load("event")).validate(json.loads(line))


def test_every_event_of_the_schema_is_explained():
    for each in load("event")["oneOf"]:
        assert f"`{each['title']}`" in PAGE.partition("| event |")[2]
