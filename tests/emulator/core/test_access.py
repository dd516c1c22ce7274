"""accessControl: who may publish where."""

from __future__ import annotations

import pytest

from emflow_emulator.core.ipc.access import MQTT_PROXY, allowed, matches
from emulator.core.pieces import publishing

PUBLISH = "aws.greengrass#PublishToIoTCore"


@pytest.mark.parametrize(
    ("pattern", "topic", "matching"),
    [
        ("em/inference", "em/inference", True),
        ("em/inference", "em/inference/2", False),
        ("em/inference", "xem/inference", False),
        ("em.inference", "emXinference", False),
        ("*", "any/thing", True),
        ("em/*", "em/a/b", True),
        ("em/*", "em", False),
        ("em/*/result", "em/a/b/result", True),
        ("em/+/result", "em/a/result", True),
        ("em/+/result", "em/a/b/result", False),
        ("+", "em", True),
        ("+", "em/a", False),
        ("em/#", "em/a/b", True),
        ("em/#", "em", False),
        ("em/#", "emu", False),
        ("#", "any/thing", True),
        ("em/a+", "em/ab", False),
        ("em/#/x", "em/a/x", False),
        ("em/${*}", "em/*", True),
        ("em/${*}", "em/a", False),
    ],
)
def test_resources(pattern: str, topic: str, matching: bool) -> None:
    assert matches(pattern, topic) is matching


def test_operation_and_resource_have_to_be_in_the_same_policy() -> None:
    policies = {
        "one": {"operations": ["aws.greengrass#SubscribeToIoTCore"], "resources": ["a"]},
        "two": {"operations": [PUBLISH], "resources": ["b"]},
        "three": {"operations": ["*"], "resources": ["c/{iot:thingName}"]},
    }
    configuration = {"accessControl": {MQTT_PROXY: policies}}

    assert not allowed(configuration, MQTT_PROXY, PUBLISH, "a", "board")
    assert allowed(configuration, MQTT_PROXY, PUBLISH, "b", "board")
    assert allowed(configuration, MQTT_PROXY, PUBLISH, "c/board", "board")
    assert not allowed(configuration, MQTT_PROXY, PUBLISH, "c/other", "board")


@pytest.mark.parametrize("configuration", [{}, {"accessControl": None}, {"accessControl": {MQTT_PROXY: {"p": "x"}}}])
def test_without_a_policy_nothing_is_allowed(configuration: dict[str, object]) -> None:
    assert not allowed(configuration, MQTT_PROXY, PUBLISH, "a", "board")


def test_a_policy_is_for_its_own_service_only() -> None:
    assert allowed(publishing("a"), MQTT_PROXY, PUBLISH, "a", "board")
    assert not allowed(publishing("a"), "aws.greengrass.ipc.pubsub", PUBLISH, "a", "board")
