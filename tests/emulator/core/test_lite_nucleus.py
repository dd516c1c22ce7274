"""The device as the lite nucleus: what was measured of that, fact by fact. `FACTS` says which test shows what."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.eventstreamrpc import ConnectionClosedError, StreamClosedError
from awsiot.greengrasscoreipc import connect, model
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.mqtt_bridge import PublishRefused
from emflow_emulator.core.nuclei import LITE
from emflow_emulator.core.plan import ComponentValues, interpolate_until_braces
from emflow_emulator.core.recipe import parse
from emulator.core.conftest import Cloud
from emulator.core.ipc_device import TIMEOUT, Events, refused
from emulator.core.pieces import Listener, lines, publishing, recipe
from support import until

FOREVER = 'echo "up $$" >> log; exec sleep 600'
PLATFORM = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}


FACTS = {
    "test_a_component_that_only_installs_fails_the_deployment_after_its_limit": (
        "a component that only installs never reaches a final state; the deployment fails after 300 s"
    ),
    "test_install_with_a_run_that_ends_at_once_works": "'install' with 'run: exit 0' works",
    "test_a_hard_dependency_on_what_only_installs_fails_the_deployment": (
        "a HARD dependency on what only installs fails the deployment"
    ),
    "test_a_killed_hard_dependency_stops_its_dependent_for_good_and_a_soft_one_does_not": (
        "a HARD dependency that is killed stops its dependents for good, a SOFT one does not"
    ),
    "test_braces_that_are_no_variable_cut_the_script_off": (
        "braces that are no variable cut a script off there; what stands before them runs, and the deployment succeeds"
    ),
    "test_a_script_ends_at_braces": "no defaults, ranges, elements of lists or variables of other components",
    "test_variables_are_filled_in": "recipe variables are filled in, and $HOME without braces is the shell's",
    "test_a_component_is_restarted_for_each_configuration_update": (
        "every component with a configurationUpdate is restarted, changed or not"
    ),
    "test_a_wrong_configuration_leaves_a_broken_component": (
        "no validation, no deferral, no rollback: a wrong configuration leaves a BROKEN component"
    ),
    "test_a_message_over_10000_bytes_ends_the_connection": (
        "an IPC message of more than 10,000 bytes ends the connection; a payload of 7.3 KB goes through"
    ),
    "test_publishes_that_wait_have_15000_bytes_together": (
        "unacknowledged publishes of QoS 1 have 15,000 bytes together"
    ),
    "test_retain_is_dropped_and_qos_2_is_accepted": "'retain' is dropped; QoS 2 is accepted",
    "test_a_missing_operation_is_a_service_error_without_text": (
        "operations that are missing answer ServiceError with an empty text"
    ),
    "test_an_unknown_state_is_a_service_error": "UpdateState with an unknown state is a ServiceError",
    "test_numbers_stay_numbers": "numbers in the configuration stay numbers",
    "test_a_part_of_the_nucleus_as_root_component_fails_the_deployment": (
        "'aws.greengrass.Nucleus' and TokenExchangeService as root components fail"
    ),
    "test_only_direct_dependents_get_the_environment_of_the_credentials": (
        "a dependency on TokenExchangeService gives direct dependents the credentials' environment, no "
        "others; one socket variable only"
    ),
    "test_which_manifest_is_used": "a manifest needs 'runtime: *' or 'aws_nucleus_lite'; no regular expressions",
    "test_steps_and_conditions_that_it_does_not_have_do_nothing": "no shutdown, recover, Skipif",
    "test_a_deployment_with_too_much_in_it_fails": "a deployment of more than 255 keys and values is not taken",
}
"""Each test here, and what was measured of the lite nucleus that it shows."""


def test_every_fact_has_a_test_and_every_test_a_fact() -> None:
    others = {
        "test_every_fact_has_a_test_and_every_test_a_fact",
        "test_it_reports_what_it_is",
        "test_a_dependent_that_is_stopped_during_a_deployment_fails_it",  # what a board reports was not measured
    }
    assert {name for name in globals() if name.startswith("test_")} - others == FACTS.keys()


@pytest.fixture
def lite(make_device: Callable[..., Any]) -> Any:
    """A device as the lite nucleus."""
    return make_device(nucleus=LITE)


@pytest.fixture
def hasty(make_device: Callable[..., Any]) -> Any:
    """The same with a short limit for deployments."""
    return make_device(nucleus=dataclasses.replace(LITE, deployment_seconds=3.0))


def deployed(cloud: Cloud, device: Any, /, **components: Any) -> dict[str, Any]:
    return cloud.outcome(device.thing, cloud.deploy(device.arn, **components))


def log(device: Any, name: str) -> list[str]:
    return lines(device.layout.work(name) / "log")


@pytest.mark.e2e
def test_it_reports_what_it_is(cloud: Cloud, lite: Any) -> None:
    assert LITE.deployment_seconds == 300
    core = cloud.greengrass.get_core_device(coreDeviceThingName=lite.thing)
    assert (core["runtime"], core["coreVersion"]) == ("aws_nucleus_lite", LITE.version)


@pytest.mark.e2e
def test_a_component_that_only_installs_fails_the_deployment_after_its_limit(cloud: Cloud, hasty: Any) -> None:
    cloud.component("lite-installs", lifecycle={"install": "echo installed >> log"})
    outcome = deployed(cloud, hasty, **{"lite-installs": "1.0.0"})

    assert outcome["reason"].startswith("FAILED_ROLLBACK_NOT_REQUESTED: The deployment did not end within 3 s: ")
    assert "lite-installs is INSTALLED" in outcome["reason"]
    assert log(hasty, "lite-installs") == ["installed"]


@pytest.mark.e2e
def test_install_with_a_run_that_ends_at_once_works(cloud: Cloud, lite: Any) -> None:
    cloud.component("lite-finishes", lifecycle={"install": "echo installed >> log", "run": "exit 0"})
    assert deployed(cloud, lite, **{"lite-finishes": "1.0.0"})["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert cloud.installed(lite.thing) == {"lite-finishes": ("1.0.0", "FINISHED")}


@pytest.mark.e2e
def test_a_hard_dependency_on_what_only_installs_fails_the_deployment(cloud: Cloud, hasty: Any) -> None:
    cloud.component("lite-model", lifecycle={"install": "true"})
    cloud.component("lite-needs-model", dependencies={"lite-model": "1.0.0"}, lifecycle={"run": FOREVER})
    outcome = deployed(cloud, hasty, **{"lite-needs-model": "1.0.0"})

    assert "lite-needs-model is INSTALLED" in outcome["reason"]
    assert log(hasty, "lite-needs-model") == []


@pytest.mark.e2e
def test_a_killed_hard_dependency_stops_its_dependent_for_good_and_a_soft_one_does_not(cloud: Cloud, lite: Any) -> None:
    cloud.component("lite-base", lifecycle={"run": FOREVER})
    needs = {"lite-base": "1.0.0"}
    cloud.component("lite-hard", dependencies=needs, lifecycle={"run": FOREVER})
    cloud.component("lite-soft", soft=needs, lifecycle={"run": FOREVER})
    outcome = deployed(cloud, lite, **{"lite-hard": "1.0.0", "lite-soft": "1.0.0"})
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: all(log(lite, name) for name in ("lite-base", "lite-hard", "lite-soft")))
    for kills in (1, 2):
        os.kill(int(log(lite, "lite-base")[-1].split()[1]), signal.SIGKILL)
        until(lambda kills=kills: len(log(lite, "lite-base")) == kills + 1)
        until(lambda: cloud.installed(lite.thing)["lite-hard"] == ("1.0.0", "FINISHED"))

    assert (len(log(lite, "lite-hard")), len(log(lite, "lite-soft"))) == (1, 1)
    assert cloud.installed(lite.thing)["lite-soft"] == ("1.0.0", "RUNNING")
    until(lambda: (lite.thing, "UNHEALTHY") in cloud.devices())
    listed = cloud.greengrass.list_installed_components(coreDeviceThingName=lite.thing, topologyFilter="ALL")
    details = {each["componentName"]: each.get("lifecycleStateDetails") for each in listed["installedComponents"]}
    assert details["lite-hard"] == "stopped, because lite-base ended, its HARD dependency"
    assert deployed(cloud, lite, **{"lite-hard": "1.0.0"})["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: (lite.thing, "HEALTHY") in cloud.devices())


@pytest.mark.e2e
def test_a_dependent_that_is_stopped_during_a_deployment_fails_it(cloud: Cloud, lite: Any) -> None:
    cloud.component("lite-once", lifecycle={"run": "until [ -e ../lite-bound/log ]; do sleep 0.02; done; exit 0"})
    cloud.component("lite-bound", dependencies={"lite-once": "1.0.0"}, lifecycle={"run": FOREVER})
    # It keeps the deployment open until the other two have ended.
    waits = "until [ -e done ]; do sleep 0.02; done"
    cloud.component("lite-waits", lifecycle={"startup": waits})
    outcome = deployed(cloud, lite, **{"lite-bound": "1.0.0", "lite-waits": "1.0.0"})

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert "Service lite-bound was stopped and is not started again, because lite-once ended" in outcome["reason"]


ME = ComponentValues("app", "1.2.3", {"topic": "em", "list": ["p"], "map": {"k": "v"}})


@pytest.mark.parametrize(
    ("script", "filled"),
    [
        ("echo {configuration:/topic}; run", "echo em; run"),
        ("cd {work:path} && run", "cd /g/work/app && run"),
        ("echo {configuration:/map}", 'echo {"k":"v"}'),
        ("echo $HOME", "echo $HOME"),
    ],
)
def test_variables_are_filled_in(script: str, filled: str) -> None:
    assert interpolate_until_braces(script, ME, Layout(Path("/g")), "board") == (filled, True)


@pytest.mark.parametrize(
    ("script", "filled"),
    [
        ("echo one; echo ${HOME}; echo two", "echo one; echo $"),
        ("echo ${X:-y}", "echo $"),
        ("for n in {1..3}; do", "for n in "),
        ("echo {configuration:/list/0}", "echo "),
        ("echo {configuration:/nothing}", "echo "),
        ("echo {model:work:path}", "echo "),
    ],
)
def test_a_script_ends_at_braces(script: str, filled: str) -> None:
    assert interpolate_until_braces(script, ME, Layout(Path("/g")), "board") == (filled, False)


@pytest.mark.e2e
def test_braces_that_are_no_variable_cut_the_script_off(cloud: Cloud, lite: Any) -> None:
    cloud.component("lite-braces", lifecycle={"run": "echo before >> log\necho ${HOME} >> log\nexit 7"})
    setenv = {"Script": "echo never >> log", "Setenv": {"A": "${B}"}}
    cloud.component("lite-setenv", lifecycle={"run": setenv})
    outcome = deployed(cloud, lite, **{"lite-braces": "1.0.0", "lite-setenv": "1.0.0"})

    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert cloud.installed(lite.thing)["lite-braces"] == ("1.0.0", "FINISHED")
    assert log(lite, "lite-braces") == ["before"]
    assert log(lite, "lite-setenv") == []


@pytest.mark.e2e
def test_a_component_is_restarted_for_each_configuration_update(cloud: Cloud, lite: Any) -> None:
    for name in ("lite-sent", "lite-not-sent"):
        cloud.component(name, defaults={"key": "x"}, lifecycle={"run": FOREVER})
    update = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"key": "x"}'}}
    for sent in (update, update, "1.0.0", "1.0.0"):
        outcome = deployed(cloud, lite, **{"lite-sent": sent, "lite-not-sent": "1.0.0"})
        assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"

    assert (len(log(lite, "lite-sent")), len(log(lite, "lite-not-sent"))) == (2, 1)


@pytest.mark.e2e
def test_a_wrong_configuration_leaves_a_broken_component(cloud: Cloud, lite: Any) -> None:
    script = "[ {configuration:/good} = yes ] || exit 1; " + FOREVER
    cloud.component("lite-configured", defaults={"good": "yes"}, lifecycle={"run": script})
    assert deployed(cloud, lite, **{"lite-configured": "1.0.0"})["coreDeviceExecutionStatus"] == "SUCCEEDED"
    wrong = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"good": "no"}'}}
    outcome = deployed(cloud, lite, **{"lite-configured": wrong})

    assert outcome["reason"].startswith("FAILED_ROLLBACK_NOT_REQUESTED: ")
    assert cloud.installed(lite.thing) == {"lite-configured": ("1.0.0", "BROKEN")}
    assert lite.configuration("lite-configured") == {"good": "no"}


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["aws.greengrass.Nucleus", "aws.greengrass.TokenExchangeService"])
def test_a_part_of_the_nucleus_as_root_component_fails_the_deployment(cloud: Cloud, lite: Any, name: str) -> None:
    version = {"aws.greengrass.Nucleus": "2.12.6"}.get(name, "2.0.3")
    outcome = deployed(cloud, lite, **{name: version})

    assert outcome["reason"].startswith("FAILED_NO_STATE_CHANGE: ")
    assert "Lifecycle with no phase" in outcome["reason"]


@pytest.mark.e2e
def test_only_direct_dependents_get_the_environment_of_the_credentials(cloud: Cloud, lite: Any) -> None:
    run = "env > log; exec sleep 600"
    needs = {"aws.greengrass.TokenExchangeService": ">=2.0.0", "aws.greengrass.Nucleus": ">=2.0.0"}
    cloud.component("lite-direct", dependencies=needs, lifecycle={"run": run})
    cloud.component("lite-indirect", dependencies={"lite-direct": "1.0.0"}, lifecycle={"run": run})
    assert deployed(cloud, lite, **{"lite-indirect": "1.0.0"})["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert cloud.installed(lite.thing).keys() == {"lite-direct", "lite-indirect"}
    names = {each: {line.split("=")[0] for line in log(lite, each)} for each in ("lite-direct", "lite-indirect")}

    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in names["lite-direct"]
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in names["lite-indirect"]
    assert {each for each in names["lite-direct"] if "SOCKET" in each} == {
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
    }


@pytest.mark.parametrize(
    ("platforms", "used"),
    [
        ([{"os": "linux"}, {"os": "linux", "runtime": "*"}], 1),
        ([{"os": "linux", "runtime": "aws_nucleus_classic"}, {"os": "linux", "runtime": "aws_nucleus_lite"}], 1),
        ([{"os": "/linux|darwin/", "runtime": "*"}, {"os": "linux", "runtime": "*"}], 1),
        ([{"runtime": "*"}, {"os": "linux", "runtime": "*"}], 1),
        ([{"os": "linux"}], None),
        ([{"os": "linux", "runtime": "aws_nucleus_classic"}], None),
    ],
)
def test_which_manifest_is_used(platforms: list[dict[str, str]], used: int | None) -> None:
    document = recipe("app")
    document["Manifests"] = [
        {"Platform": platform, "Lifecycle": {"run": f"echo {index}"}, "Artifacts": []}
        for index, platform in enumerate(platforms)
    ]
    if used is None:
        with pytest.raises(DeploymentFailure, match="has no manifest for this device's platform"):
            parse(json.dumps(document), PLATFORM, LITE)
        return
    assert parse(json.dumps(document), PLATFORM, LITE).steps["run"].script == f"echo {used}"


def test_steps_and_conditions_that_it_does_not_have_do_nothing() -> None:
    lifecycle = {
        "install": {"Script": "a", "Skipif": "onpath sh"},
        "run": "b",
        "shutdown": "c",
        "recover": "d",
        "uninstall": "e",
    }
    found = parse(json.dumps(recipe("app", lifecycle=lifecycle)), PLATFORM, LITE)
    assert found.steps.keys() == {"install", "run"}
    assert found.steps["install"].skip_if == ""


@pytest.mark.e2e
def test_a_deployment_with_too_much_in_it_fails(cloud: Cloud, lite: Any) -> None:
    cloud.component("lite-much", lifecycle={"run": FOREVER})
    merge = json.dumps({f"key{number}": {"a": "b"} for number in range(100)})
    wanted = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": merge}}
    outcome = deployed(cloud, lite, **{"lite-much": wanted})

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert "the lite nucleus takes 255 at most" in outcome["reason"]


@pytest.fixture
def component(cloud: Cloud, lite: Any) -> Iterator[Any]:
    """A client with the rights of a component on a lite nucleus."""
    name = f"lite-client-{lite.thing}"
    may = publishing("*")["accessControl"]["aws.greengrass.ipc.mqttproxy"]
    cloud.component(
        name,
        defaults={"number": 5, "accessControl": {"aws.greengrass.ipc.mqttproxy": may}},
        lifecycle={"run": "echo $SVCUID > log; exec sleep 600"},
    )
    assert deployed(cloud, lite, **{name: "1.0.0"})["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: log(lite, name))
    (token,) = log(lite, name)
    made = GreengrassCoreIPCClientV2(client=connect(ipc_socket=str(lite.layout.socket), authtoken=token))
    yield made
    with contextlib.suppress(AwsCrtError):  # of a connection that the nucleus has closed
        made.close().result(TIMEOUT)


@pytest.mark.e2e
def test_numbers_stay_numbers(component: Any) -> None:
    assert repr(component.get_configuration(key_path=["number"]).value) == "{'number': 5}"
    component.update_configuration(value_to_merge={"more": [1, 2.5]}, timestamp=datetime.now(UTC))
    assert repr(component.get_configuration(key_path=["more"]).value) == "{'more': [1, 2.5]}"


@pytest.mark.e2e
def test_a_missing_operation_is_a_service_error_without_text(component: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: component.get_secret_value(secret_id="x"),
        lambda: component.subscribe_to_validate_configuration_updates(on_stream_event=Events()),
        lambda: component.subscribe_to_component_updates(on_stream_event=Events()),
        lambda: component.defer_component_update(deployment_id="x"),
        lambda: component.put_component_metric(metrics=[]),
        lambda: component.get_component_details(component_name="x"),
        lambda: component.list_components(),
        lambda: component.get_thing_shadow(thing_name="x", shadow_name="y"),
    ]
    for call in calls:
        with pytest.raises(model.ServiceError) as caught:
            call()
        assert caught.value.message == ""


@pytest.mark.e2e
def test_an_unknown_state_is_a_service_error(component: Any) -> None:
    with refused(model.ServiceError):
        component.update_state(state="FINE")
    component.update_state(state="RUNNING")


@pytest.mark.e2e
def test_retain_is_dropped_and_qos_2_is_accepted(cloud: Cloud, component: Any) -> None:
    with closing(Listener(cloud.broker, "lite/#")) as listener:
        component.publish_to_iot_core(topic_name="lite/kept", qos="1", payload=b"x", retain=True)
        assert listener.next()[:2] == ("lite/kept", b"x")
        component.publish_to_iot_core(topic_name="lite/two", qos="2", payload=b"y")
        assert listener.next()[:2] == ("lite/two", b"y")
    assert cloud.broker.retained.get("lite/kept") is None


@pytest.mark.e2e
def test_a_message_over_10000_bytes_ends_the_connection(cloud: Cloud, lite: Any, component: Any) -> None:
    # What the client says of it depends on what it notices first.
    closed = (StreamClosedError, ConnectionClosedError, AwsCrtError, RuntimeError)
    with closing(Listener(cloud.broker, "lite/size")) as listener:
        component.publish_to_iot_core(topic_name="lite/size", qos="1", payload=b"x" * 7300)
        assert len(listener.next()[1]) == 7300
        with pytest.raises(closed):
            component.publish_to_iot_core_async(topic_name="lite/size", qos="1", payload=b"x" * 7600).result(TIMEOUT)
        assert any("sent too long a message" in line for line in lines(lite.layout.greengrass_log))
        with pytest.raises(closed):
            component.publish_to_iot_core_async(topic_name="lite/size", qos="1", payload=b"x").result(TIMEOUT)
        assert listener.heard.empty()


@pytest.mark.e2e
def test_publishes_that_wait_have_15000_bytes_together(
    make_device: Callable[..., Any],
) -> None:
    # Nothing listens there, so nothing is acknowledged.
    device = make_device(nucleus=LITE, mqtt=("127.0.0.1", 1))
    for _ in range(3):
        device.publish("lite/waits", b"x" * 5000, 1, False)
    with pytest.raises(PublishRefused, match="full"):
        device.publish("lite/waits", b"x", 1, False)
