"""How AWS's components are configured by a deployment: merged, and reset where the workflow no longer says it."""

from __future__ import annotations

import json

import pytest

from emflow.resources.greengrass.revision import pointers, revised_configuration
from emflow.workflow.model import RunWith, Settings
from resources.conftest import within
from resources.test_access import step

NUCLEUS = "aws.greengrass.Nucleus"


def deployed(client, workflow):
    greengrass = client("greengrassv2")
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{workflow.cloud.deployment.target.thing}"
    (latest,) = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    return greengrass.get_deployment(deploymentId=latest["deploymentId"])["components"][NUCLEUS]


def with_settings(workflow, *, run_with=None, reset=(), **configuration):
    given = Settings(component=NUCLEUS, configuration=configuration, reset=reset, run_with=run_with)
    return within(workflow, "cloud.deployment", settings=(given,))


def update(client, workflow):
    found = deployed(client, workflow).get("configurationUpdate") or {}
    return json.loads(found.get("merge", "null")), found.get("reset", [])


def test_a_component_of_awss_is_configured_and_run_as_the_workflow_says(rollout, workflow, client):
    run_with = RunWith(user="ggc_user", cpus=0.5, memory_kb=1024)
    settings = with_settings(workflow, mqtt={"port": 443}, reset=("/logging",), run_with=run_with)
    rollout.apply(settings)
    assert update(client, settings) == ({"mqtt": {"port": 443}}, ["/logging"])
    limits = {"cpus": 0.5, "memory": 1024}
    assert deployed(client, settings)["runWith"] == {"posixUser": "ggc_user", "systemResourceLimits": limits}
    rollout.apply(settings)
    assert rollout.changing_calls == []


def test_a_key_that_left_the_workflow_is_reset_from_then_on(rollout, workflow, client):
    rollout.apply(with_settings(workflow, mqtt={"port": 443, "keepAliveTimeoutMs": 1}, logging={"level": "DEBUG"}))
    less = with_settings(workflow, mqtt={"port": 8443})
    lines = rollout.plan(less).text()
    assert f"{NUCLEUS}.configuration.mqtt.port: 443 → 8443" in lines
    assert f"{NUCLEUS}.reset: + /logging/level" in lines
    rollout.apply(less)
    assert update(client, less) == ({"mqtt": {"port": 8443}}, ["/logging/level", "/mqtt/keepAliveTimeoutMs"])
    rollout.apply(less)
    assert rollout.changing_calls == []


def test_settings_that_left_the_workflow_altogether_are_reset(rollout, workflow, client):
    rollout.apply(with_settings(workflow, mqtt={"port": 443}, run_with=RunWith(user="ggc_user")))
    rollout.apply(workflow)
    assert update(client, workflow) == (None, ["/mqtt/port"])
    assert not deployed(client, workflow).get("runWith")
    rollout.apply(workflow)
    assert rollout.changing_calls == []


def test_what_somebody_else_configured_stays_until_the_workflow_says_something_of_it(rollout, workflow, client):
    thing = workflow.cloud.deployment.target.thing
    theirs = {"componentVersion": "2.12.6", "configurationUpdate": {"merge": '{"logging": {"level": "DEBUG"}}'}}
    client("greengrassv2").create_deployment(
        targetArn=f"arn:aws:iot:us-east-1:123456789012:thing/{thing}", components={NUCLEUS: theirs}
    )
    rollout.apply(workflow)
    assert update(client, workflow) == ({"logging": {"level": "DEBUG"}}, [])
    settings = with_settings(workflow, mqtt={"port": 443})
    assert "reset: + /logging/level" in "\n".join(rollout.plan(settings).text().splitlines())
    assert step(rollout.plan(settings), "deployment/target").diff.changes
    rollout.apply(settings)
    assert update(client, settings) == ({"mqtt": {"port": 443}}, ["/logging/level"])


@pytest.mark.parametrize(
    ("there", "wanted", "reset"),
    [
        ({"merge": '{"a": {"b": 1}}'}, {"merge": '{"a": {"b": 2}}'}, []),
        ({"merge": '{"a": {"b": 1}}'}, {"merge": '{"a": 1}'}, []),
        ({"merge": '{"a": 1}'}, {"merge": '{"a": {"b": 1}}'}, ["/a"]),
        ({"merge": '{"a/b": 1, "c~d": [1, 2]}'}, {}, ["/a~1b", "/c~0d"]),
        ({"reset": ["/a"]}, {"merge": '{"b": 1}'}, ["/a"]),
        ({"reset": [""]}, {"merge": '{"b": 1}'}, []),
        ({}, {"reset": [""]}, [""]),
    ],
)
def test_what_is_reset(there, wanted, reset):
    made = revised_configuration({"configurationUpdate": there}, {"configurationUpdate": wanted})
    assert made.get("configurationUpdate", {}).get("reset", []) == reset
    assert revised_configuration(made, {"configurationUpdate": wanted}) == made


def test_an_empty_mapping_is_something_that_is_set():
    assert list(pointers({"a": {}, "b": {"c": {"d": None}}})) == ["/a", "/b/c/d"]
