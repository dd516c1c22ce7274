"""The whole device on the embedded cloud: what is deployed with boto3 runs here, and boto3 sees how it is."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emflow_emulator.architecture import of_this_machine
from emflow_emulator.core.nucleus import Nucleus
from emulator.core.conftest import BUCKET, Cloud
from emulator.core.pieces import Listener, alive, lines, publishing
from support import until

pytestmark = pytest.mark.e2e

FOREVER = 'echo "up $$" >> log; exec sleep 600'
TALK = """
import sys, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import UnauthorizedError
client = GreengrassCoreIPCClientV2()
settings = client.get_configuration().value
client.publish_to_iot_core(topic_name=settings["topic"], qos="1", payload=settings["greeting"])
try:
    client.publish_to_iot_core(topic_name="not/mine", qos="1", payload=b"x")
except UnauthorizedError as error:
    print("refused:", error.message, flush=True)
time.sleep(600)
"""


SEES = """
import importlib.util, json, os, sys
names = "cv2 numpy av grpc google.protobuf awsiot boto3 moto emflow emflow_emulator emflow_edge emflow_schema".split()
found = {}
for name in names:
    try:
        found[name] = importlib.util.find_spec(name).origin
    except (ImportError, AttributeError):
        pass
with open("new", "w") as file:
    json.dump({"found": found, "path": sys.path, "env": dict(os.environ), "python": sys.executable}, file)
os.replace("new", "log")
"""


def test_a_component_sees_the_boards_python_and_nothing_of_emflows_own(cloud: Cloud, device: Any) -> None:
    uri = cloud.put("sees/sees.zip", {"sees.py": SEES})
    cloud.component(
        "sees",
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        lifecycle={"run": 'python3 "{artifacts:decompressedPath}/sees/sees.py"'},
    )
    cloud.outcome(device.thing, cloud.deploy(device.arn, sees="1.0.0"))
    seen = json.loads(work(device, "sees")[0])

    assert seen["found"].keys() == {"cv2", "numpy", "av", "grpc", "google.protobuf", "awsiot"}
    assert Path(seen["python"]).parent == device.layout.python / "bin"
    assert "PYTHONPATH" not in seen["env"]
    ours = str(Path(sys.prefix).resolve())
    paths = [*seen["path"], *filter(None, seen["found"].values()), *seen["env"]["PATH"].split(os.pathsep)]
    assert not [path for path in paths if os.path.realpath(path).startswith(f"{ours}/")]
    assert not [name for name, value in seen["env"].items() if sys.prefix in value]


def test_a_component_without_its_package_fails_with_the_reason(
    cloud: Cloud, device: Any, about_to_fail: Callable[[], None]
) -> None:
    about_to_fail()
    cloud.component("needs-moto", lifecycle={"run": 'python3 -c "import moto"'})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"needs-moto": "1.0.0"}))

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert outcome["reason"].splitlines()[-1] == "ModuleNotFoundError: No module named 'moto'"


def wrote(device: Nucleus, component: str) -> list[str]:
    return lines(device.layout.work(component) / "log")


def work(device: Nucleus, component: str, number: int = 1) -> list[str]:
    """What a component wrote, once that are so many lines: a deployment succeeds soon after its scripts have begun."""
    until(lambda: len(wrote(device, component)) >= number, what=f"{number} lines of {component}")
    return wrote(device, component)


def test_from_deployment_to_a_message_on_the_broker(cloud: Cloud, device: Any) -> None:
    uri = cloud.put("talk/talk.zip", {"talk.py": TALK})
    cloud.component(
        "talk",
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        defaults={"topic": "em/inference", "greeting": "hello"} | publishing("em/inference"),
        lifecycle={"run": {"Script": 'exec python3 -u "{artifacts:decompressedPath}/talk/talk.py"'}},
    )
    with closing(Listener(cloud.broker, "#")) as listener:
        update = {"merge": json.dumps({"greeting": "from the deployment"})}
        wanted = {"componentVersion": "1.0.0", "configurationUpdate": update}
        deployment = cloud.deploy(device.arn, talk=wanted)
        assert listener.next()[:2] == ("em/inference", b"from the deployment")
        log = device.layout.log("talk")
        until(lambda: any("refused: Authorization failed" in line for line in lines(log)))
        assert listener.heard.empty()

    outcome = cloud.outcome(device.thing, deployment)
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert cloud.greengrass.get_deployment(deploymentId=deployment)["deploymentStatus"] == "COMPLETED"
    core = cloud.greengrass.get_core_device(coreDeviceThingName=device.thing)
    assert (core["status"], core["coreVersion"]) == ("HEALTHY", "2.12.6")
    assert cloud.installed(device.thing) == {"talk": ("1.0.0", "RUNNING")}
    log_lines = lines(device.layout.greengrass_log)
    assert any("Current deployment finished. {DeploymentId=" + deployment in line for line in log_lines)
    assert any("persisted deployment. {Status=SUCCEEDED, StatusDetails={detailed-" in line for line in log_lines)


def test_dependencies_come_along_and_public_components_are_known(cloud: Cloud, device: Any) -> None:
    cloud.component("base", lifecycle={"install": "touch {work:path}/ready"})
    cloud.component(
        "needs-base",
        dependencies={"base": ">=1.0.0", "aws.greengrass.TokenExchangeService": ">=2.0.0"},
        lifecycle={"run": "test -e {base:work:path}/ready || exit 1; env > log; exec sleep 600"},
    )
    deployment = cloud.deploy(device.arn, **{"needs-base": "1.0.0", "aws.greengrass.Nucleus": "2.12.6"})

    assert cloud.outcome(device.thing, deployment)["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert cloud.installed(device.thing) == {
        "base": ("1.0.0", "FINISHED"),
        "needs-base": ("1.0.0", "RUNNING"),
        "aws.greengrass.Nucleus": ("2.12.6", "FINISHED"),
        "aws.greengrass.TokenExchangeService": ("2.0.3", "RUNNING"),
    }
    listed = cloud.greengrass.list_installed_components(coreDeviceThingName=device.thing, topologyFilter="ROOT")
    assert {each["componentName"] for each in listed["installedComponents"]} == {
        "needs-base",
        "aws.greengrass.Nucleus",
    }
    wanted = {"SVCUID", "GG_ROOT_CA_PATH", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
    until(lambda: wanted <= {line.split("=", 1)[0] for line in wrote(device, "needs-base")})


def test_boto3_in_a_component_has_the_credentials_of_the_role_alias(
    cloud: Cloud, make_device: Callable[..., Any]
) -> None:
    for name in ("first", "second"):
        role = cloud.iam.create_role(RoleName=f"role-{name}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        cloud.iot.create_role_alias(roleAlias=f"alias-{name}", roleArn=role)
    device = make_device(role_alias="alias-second")
    who = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    # The device's own Python has no boto3, as that of a board has none.
    cloud.component("who", lifecycle={"run": f'{sys.executable} -c "{who}" > log'})
    cloud.deploy(device.arn, **{"who": "1.0.0", "aws.greengrass.TokenExchangeService": "2.0.3"})

    assert work(device, "who") == [f"arn:aws:sts::123456789012:assumed-role/role-second/{device.thing}"]


def test_an_overwritten_artifact_is_refused_and_the_device_stays_as_it_was(cloud: Cloud, device: Any) -> None:
    cloud.component("steady", lifecycle={"run": FOREVER})
    cloud.outcome(device.thing, cloud.deploy(device.arn, steady="1.0.0"))
    uri = cloud.put("spoilt/app.zip", {"a": "as it was"})
    cloud.component("spoilt", artifacts=[{"URI": uri, "Unarchive": "ZIP"}], lifecycle={"run": FOREVER})
    cloud.put("spoilt/app.zip", {"a": "overwritten"})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, spoilt="1.0.0"))

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert outcome["reason"].startswith("FAILED_NO_STATE_CHANGE: ")
    assert uri in outcome["reason"]
    assert outcome["statusDetails"] == {
        "errorStack": ["DEPLOYMENT_FAILURE", "ARTIFACT_DOWNLOAD_ERROR", "ARTIFACT_CHECKSUM_MISMATCH"],
        "errorTypes": ["COMPONENT_RECIPE_ERROR"],
    }
    assert cloud.installed(device.thing) == {"steady": ("1.0.0", "RUNNING")}
    assert len(work(device, "steady")) == 1


def test_an_artifact_that_is_gone_is_a_failure(cloud: Cloud, device: Any) -> None:
    uri = cloud.put("gone/app.zip", {"a": "a"})
    cloud.component("gone", artifacts=[{"URI": uri}])
    cloud.s3.delete_object(Bucket=BUCKET, Key="gone/app.zip")
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, gone="1.0.0"))

    assert outcome["statusDetails"]["errorStack"][-1] == "S3_RESOURCE_NOT_FOUND"


def executed(cloud: Cloud, device: Any, name: str, artifact: dict[str, Any], script: str) -> tuple[str, str]:
    """A component that runs this script, with this artifact: what becomes of its deployment, and why."""
    cloud.component(name, artifacts=[artifact], lifecycle={"run": script})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0"}))
    return outcome["coreDeviceExecutionStatus"], outcome["reason"]


@pytest.mark.parametrize(
    ("permission", "status"),
    [
        ({"Read": "OWNER", "Execute": "OWNER"}, "SUCCEEDED"),
        ({"Execute": "ALL"}, "SUCCEEDED"),
        ({"Read": "ALL", "Execute": "NONE"}, "FAILED"),
        ({}, "FAILED"),
    ],
)
def test_a_program_runs_by_its_path_only_with_the_permission_to_execute(
    cloud: Cloud, device: Any, about_to_fail: Callable[[], None], permission: dict[str, str], status: str
) -> None:
    if status == "FAILED":
        about_to_fail()
    name = f"program-{device.thing}"
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{name}/program", Body=b"#!/bin/sh\nexec sleep 600\n")
    artifact = {"URI": f"s3://{BUCKET}/{name}/program", "Permission": permission}
    found, reason = executed(cloud, device, name, artifact, "exec {artifacts:path}/program 600")

    assert found == status
    assert ("Permission denied" in reason) is (status == "FAILED")


@pytest.mark.parametrize(("mode", "execute", "status"), [(0o644, "OWNER", "SUCCEEDED"), (0o755, "NONE", "FAILED")])
def test_the_mode_in_a_zip_does_not_decide_who_executes(
    cloud: Cloud, device: Any, about_to_fail: Callable[[], None], mode: int, execute: str, status: str
) -> None:
    if status == "FAILED":
        about_to_fail()
    name = f"script-{device.thing}"
    uri = cloud.put(f"{name}/script.zip", {"run.sh": "#!/bin/sh\necho ran >> log\n"}, mode)
    artifact = {"URI": uri, "Unarchive": "ZIP", "Permission": {"Read": "OWNER", "Execute": execute}}
    found, reason = executed(cloud, device, name, artifact, "exec {artifacts:decompressedPath}/script/run.sh")

    assert found == status
    assert ("Permission denied" in reason) is (status == "FAILED")
    assert bool(work(device, name) if status == "SUCCEEDED" else wrote(device, name)) is (status == "SUCCEEDED")


def test_a_full_disk_fails_one_deployment_and_not_the_next(cloud: Cloud, device: Any) -> None:
    cloud.component("stored", lifecycle={"run": FOREVER})
    in_the_way = device.layout.artifacts("stored", "1.0.0").parent
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("not a folder")
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, stored="1.0.0"))
    assert outcome["statusDetails"]["errorTypes"] == ["DEVICE_ERROR"]

    in_the_way.unlink()
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, stored="1.0.0"))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"


def test_a_component_for_another_platform_fails_the_deployment_with_the_reason(cloud: Cloud, device: Any) -> None:
    cloud.component("foreign", platform={"os": "windows", "runtime": "*"}, lifecycle={"run": FOREVER})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, foreign="1.0.0"))

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert "foreign" in outcome["reason"]
    assert "os=linux" in outcome["reason"]
    cloud.component("ours", platform={"os": "linux", "runtime": "aws_nucleus_classic"}, lifecycle={"run": FOREVER})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, ours="1.0.0"))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"


def test_a_device_that_says_it_is_a_board_takes_what_is_for_the_board(
    cloud: Cloud, device: Any, make_device: Callable[..., Any]
) -> None:
    # One that this machine is not, whatever it is.
    other = "aarch64" if of_this_machine() != "aarch64" else "arm"
    cloud.component("for-a-board", platform={"os": "linux", "architecture": other}, lifecycle={"run": FOREVER})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"for-a-board": "1.0.0"}))
    assert outcome["reason"].endswith(
        f". There is a version for {other}: with --architecture {other}, this virtual device uses it"
    )

    with tempfile.TemporaryDirectory() as folder:
        board = make_device(architecture=other, root=Path(folder))
        outcome = cloud.outcome(board.thing, cloud.deploy(board.arn, **{"for-a-board": "1.0.0"}))
        assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
        assert cloud.greengrass.get_core_device(coreDeviceThingName=board.thing)["architecture"] == other
        board.stop()


def test_three_errors_are_broken_and_the_deployment_failed(
    cloud: Cloud, device: Any, about_to_fail: Callable[[], None]
) -> None:
    about_to_fail()
    cloud.component("bad", lifecycle={"run": "echo try >> log; exit 1"})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, "DO_NOTHING", bad="1.0.0"))

    assert outcome["reason"] == "FAILED_ROLLBACK_NOT_REQUESTED: Service bad in broken state after deployment"
    assert outcome["statusDetails"]["errorTypes"] == ["USER_COMPONENT_ERROR"]
    assert cloud.installed(device.thing) == {"bad": ("1.0.0", "BROKEN")}
    (bad,) = cloud.greengrass.list_installed_components(coreDeviceThingName=device.thing)["installedComponents"]
    assert (bad["lifecycleStateDetails"], bad["lifecycleStatusCodes"]) == (
        "run script exited with code 1",
        ["RUN_ERROR"],
    )
    assert cloud.greengrass.get_core_device(coreDeviceThingName=device.thing)["status"] == "UNHEALTHY"
    assert work(device, "bad", 3) == ["try"] * 3


def test_a_failed_deployment_is_rolled_back(cloud: Cloud, device: Any, about_to_fail: Callable[[], None]) -> None:
    cloud.component("rolls", lifecycle={"run": FOREVER}, defaults={"key": "old"})
    cloud.component("rolls", "2.0.0", lifecycle={"run": "exit 1"}, defaults={"key": "new"})
    cloud.outcome(device.thing, cloud.deploy(device.arn, rolls="1.0.0"))
    about_to_fail()
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, rolls="2.0.0"))

    assert outcome["reason"].startswith("FAILED_ROLLBACK_COMPLETE: ")
    until(lambda: cloud.installed(device.thing) == {"rolls": ("1.0.0", "RUNNING")})
    assert device.configuration("rolls") == {"key": "old"}


def test_a_deployment_replaces_the_one_before(cloud: Cloud, device: Any) -> None:
    for name, version in (("stays", "1.0.0"), ("changes", "1.0.0"), ("changes", "2.0.0"), ("goes", "1.0.0")):
        uri = cloud.put(f"{name}/{version}.zip", {"a": version})
        cloud.component(name, version, artifacts=[{"URI": uri}], lifecycle={"run": f"echo {version} >> log; {FOREVER}"})
    cloud.outcome(device.thing, cloud.deploy(device.arn, stays="1.0.0", changes="1.0.0", goes="1.0.0"))
    gone = work(device, "goes", 2)[1].split()[1]
    assert [len(work(device, name, 2)) for name in ("stays", "changes")] == [2, 2]
    cloud.outcome(device.thing, cloud.deploy(device.arn, stays="1.0.0", changes="2.0.0"))

    assert cloud.installed(device.thing) == {"stays": ("1.0.0", "RUNNING"), "changes": ("2.0.0", "RUNNING")}
    assert not alive(gone)
    assert len(work(device, "stays", 2)) == 2
    assert [line for line in work(device, "changes", 4) if "up" not in line] == ["1.0.0", "2.0.0"]
    assert not device.layout.artifacts("changes", "1.0.0").exists()
    assert not device.layout.artifacts("goes", "1.0.0").exists()
    assert work(device, "goes")  # the work folder stays
    removed = [line for line in lines(device.layout.greengrass_log) if "delete-component-finish" in line]
    assert any("{componentIdentifier=goes-v1.0.0}" in line for line in removed)


def test_a_component_names_the_last_deployment_that_changed_it(cloud: Cloud, device: Any) -> None:
    cloud.component("sourced", lifecycle={"run": FOREVER})
    cloud.component("dragged-along", lifecycle={"run": FOREVER})
    cloud.component("needs-it", dependencies={"dragged-along": "1.0.0"}, lifecycle={"run": FOREVER})
    cloud.component("no-artifact", artifacts=[{"URI": cloud.put("no/artifact.zip", {})}], lifecycle={"run": FOREVER})
    cloud.s3.delete_object(Bucket=BUCKET, Key="no/artifact.zip")

    def deployed(**components: Any) -> str:
        made = cloud.deploy(device.arn, **{"sourced": "1.0.0", "needs-it": "1.0.0"} | components)
        cloud.outcome(device.thing, made)
        return made

    def sources() -> dict[str, str]:
        listed = cloud.greengrass.list_installed_components(coreDeviceThingName=device.thing, topologyFilter="ALL")
        return {each["componentName"]: each["lastInstallationSource"] for each in listed["installedComponents"]}

    first = deployed()
    everything = dict.fromkeys(("sourced", "needs-it", "dragged-along"), first)
    assert sources() == everything
    deployed()  # the same again
    deployed(**{"no-artifact": "1.0.0"})  # fails before anything changes
    assert sources() == everything
    configured = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"key": "value"}'}}
    fourth = deployed(sourced=configured)
    assert sources() == everything | {"sourced": fourth}


def test_a_changed_setting_restarts_its_component_only_and_a_reset_takes_it_back(cloud: Cloud, device: Any) -> None:
    for name in ("one", "two"):
        cloud.component(
            name, defaults={"key": "default"}, lifecycle={"run": 'echo "{configuration:/key}" >> log; exec sleep 600'}
        )

    def deploy(**update: Any) -> None:
        one = {"componentVersion": "1.0.0", "configurationUpdate": update}
        cloud.outcome(device.thing, cloud.deploy(device.arn, one=one, two="1.0.0"))

    deploy(merge='{"key": "first", "other": "x"}')
    work(device, "one")
    deploy(merge='{"key": "second"}')
    work(device, "one", 2)
    assert device.configuration("one") == {"key": "second", "other": "x"}
    deploy()
    deploy(reset=[""])

    assert work(device, "one", 3) == ["first", "second", "default"]
    assert work(device, "two") == ["default"]


def test_a_deployment_to_a_group_reaches_its_things_beside_their_own(cloud: Cloud, device: Any) -> None:
    group = cloud.iot.create_thing_group(thingGroupName="boards")["thingGroupArn"]
    cloud.iot.add_thing_to_thing_group(thingGroupName="boards", thingName=device.thing)
    for name in ("for-all", "for-one"):
        cloud.component(name, lifecycle={"run": FOREVER})
    cloud.outcome(device.thing, cloud.deploy(group, **{"for-all": "1.0.0"}))
    cloud.outcome(device.thing, cloud.deploy(device.arn, **{"for-one": "1.0.0"}))

    assert cloud.installed(device.thing).keys() == {"for-all", "for-one"}
    assert len(work(device, "for-all")) == 1


def test_a_device_that_starts_again_runs_what_it_ran_with_its_settings(
    cloud: Cloud, make_device: Callable[..., Any], root: Path
) -> None:
    cloud.component("lasting", lifecycle={"run": 'echo "{configuration:/key}" >> log; exec sleep 600'})
    device = make_device(thing="again")
    setting = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"key": "kept"}'}}
    cloud.outcome("again", cloud.deploy(device.arn, lasting=setting))
    cloud.outcome("again", cloud.deploy(device.arn, lasting="1.0.0"))
    work(device, "lasting")
    device.stop()
    device.stop()
    second = make_device(thing="again")

    assert work(second, "lasting", 2) == ["kept", "kept"]


def test_a_bad_component_fails_its_deployment_and_the_next_one_goes_through(cloud: Cloud, device: Any) -> None:
    cloud.component("bad-setenv", lifecycle={"run": {"Script": "x", "Setenv": {"X": "a\0b"}}})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"bad-setenv": "1.0.0"}))
    assert outcome["coreDeviceExecutionStatus"] == "FAILED"

    cloud.component("good-setenv", lifecycle={"run": FOREVER})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"good-setenv": "1.0.0"}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"


def test_a_configuration_with_a_number_that_no_float_can_hold_is_refused(cloud: Cloud, device: Any) -> None:
    cloud.component("large-number", lifecycle={"run": FOREVER})
    wanted = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"n": 1%s}' % ("0" * 400)}}
    with pytest.raises(ClientError, match="is not JSON: a number of 401 digits is too large"):
        cloud.deploy(device.arn, **{"large-number": wanted})


def test_settings_that_cannot_be_stored_change_nothing(cloud: Cloud, device: Any) -> None:
    for name in ("kept-up", "not-stored"):
        cloud.component(name, lifecycle={"run": FOREVER})
    cloud.outcome(device.thing, cloud.deploy(device.arn, **{"kept-up": "1.0.0"}))
    in_the_way = device.layout.configuration.with_suffix(".new")
    in_the_way.mkdir()
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"not-stored": "1.0.0"}))

    assert outcome["reason"].startswith("FAILED_NO_STATE_CHANGE: ")
    assert cloud.installed(device.thing) == {"kept-up": ("1.0.0", "RUNNING")}
    in_the_way.rmdir()
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"not-stored": "1.0.0"}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
