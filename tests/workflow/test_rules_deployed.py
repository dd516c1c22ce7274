"""The rules about what comes onto the device and where it is made; and the facts about AWS that they stand on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.aws_regions import NEO_CLOUD, NEO_DEVICES, REGIONS, partition_of
from emflow.workflow.load import check
from emflow_schema.agent_socket import CORE_SOCKET

TARGET = 'target: {thing: "{{ vars.thing }}"}'
AGENT = "aws.greengrass.SageMakerEdgeManager: latest"
OWN = "components:\n  - name: com.example.Heartbeat\n    recipe: recipe.yaml.j2\n"


def findings(path: Path, code: str) -> list[Finding]:
    try:
        told = check(path).warnings
    except WorkflowProblem as problem:
        told = problem.findings
    return [finding for finding in told if finding.code == code]


def deploying(path: Path, components: str) -> None:
    path.write_text(path.read_text().replace(TARGET, f"{TARGET}\n    components: {{{AGENT}, {components}}}"))


def test_what_is_not_named_comes_at_any_version_and_is_a_warning(small: Path) -> None:
    deploying(small, "aws.greengrass.Nucleus: 2.12.6")
    (finding,) = findings(small, "EM046")
    assert finding.severity == "warning"
    assert "aws.greengrass.TokenExchangeService is not named" in finding.message


def test_all_that_is_needed_by_name_is_no_warning(small: Path) -> None:
    deploying(small, "aws.greengrass.Nucleus: 2.12.6, aws.greengrass.TokenExchangeService: 2.0.3")
    assert findings(small, "EM046") == findings(small, "EM045") == []


def test_the_way_out_of_a_discontinued_provider_is_reported(small: Path) -> None:
    (finding,) = findings(small, "EM081")
    assert finding.severity == "warning"
    assert "26 April 2024" in finding.message
    assert "emflow-agent" in finding.mend


@pytest.mark.parametrize(
    ("requirement", "deployed", "right"),
    [
        (">=2.0.0", "2.12.6", True),
        (">=2.13.0", "2.12.6", False),
        (">=2.0.0 <2.12.0", "2.12.6", False),
        (">=2.0.0 <3.0.0", "2.12.6", True),
        ("2.12.6", "2.12.6", True),
        ("=2.12.5", "2.12.6", False),
        ("==2.12.6", "2.12.6", True),
        ("<=2.12.5", "2.12.6", False),
        (">2.12.6", "2.12.6", False),
        (">=9.0.0", "latest", True),
        ("~2.1 || something else", "2.12.6", True),
    ],
)
def test_a_components_requirement_is_held_against_the_deployed_version(
    small: Path, requirement: str, deployed: str, right: bool
) -> None:
    deploying(small, f"aws.greengrass.Nucleus: {deployed}")
    small.write_text(small.read_text() + OWN + f'    dependencies: {{aws.greengrass.Nucleus: "{requirement}"}}\n')
    assert (findings(small, "EM045") == []) == right


@pytest.mark.parametrize(
    ("name", "message", "mend"),
    [
        ("scenes_componnt", "does not deploy", "did you mean `scenes_component`?"),
        ("org.acme.Wall", "does not deploy", "add it under `components`"),
        ("com.example.Heartbeat", "depends on itself", "remove the line"),
    ],
)
def test_a_dependency_that_nobody_deploys_is_reported(small: Path, name: str, message: str, mend: str) -> None:
    small.write_text(small.read_text() + OWN + f'    dependencies: {{{name}: ">=1.0.0"}}\n')
    (finding,) = findings(small, "EM045")
    assert message in finding.message
    assert finding.mend == mend


@pytest.mark.parametrize(
    "name", ["scenes_component", "aws.sagemaker.edgeManagerClientCameraIntegration", "aws.greengrass.X"]
)
def test_a_dependency_on_what_is_deployed_or_awss_is_right(small: Path, name: str) -> None:
    small.write_text(small.read_text() + OWN + f'    dependencies: {{{name}: ">=1.0.0"}}\n')
    assert findings(small, "EM045") == []


@pytest.mark.parametrize(
    ("key", "path", "right"),
    [
        ("agentSocket", CORE_SOCKET, True),
        ("agentSocket", f"unix://{CORE_SOCKET}", True),
        ("agentSocket", "/tmp/sagemaker_edge_agent_example.sock", False),
        ("agentSocket", "/tmp/other.sock", False),
        ("UnixSocketName", "/tmp/other.sock", False),
        ("socket", "/tmp/other.sock", True),
    ],
)
def test_a_component_of_ones_own_has_to_look_where_the_agent_listens(
    small: Path, key: str, path: str, right: bool
) -> None:
    small.write_text(small.read_text() + OWN + f'    configuration: {{{key}: "{path}"}}\n')
    assert (findings(small, "EM047") == []) == right


@pytest.mark.parametrize(
    ("topic", "right"),
    [
        ("em/heartbeat", True),
        ("em/*", True),
        ("em/#", True),
        ("em/+/x", True),
        ("*", False),
        ("#", False),
        ("em#", False),
        ("em/#/x", False),
        ("em/a+", False),
        ("", False),
    ],
)
def test_an_access_policy_grants_topics_that_can_be_meant(small: Path, topic: str, right: bool) -> None:
    policy = {"aws.greengrass.ipc.mqttproxy": {"p:1": {"operations": ["*"], "resources": [topic]}}}
    small.write_text(small.read_text() + OWN + f"    configuration: {{accessControl: {json.dumps(policy)}}}\n")
    assert (findings(small, "EM063") == []) == right


@pytest.mark.parametrize(
    "access", ["5", "[]", "{aws.greengrass.ipc.mqttproxy: 1}", "{aws.greengrass.ipc.mqttproxy: {p: 1}}"]
)
def test_an_access_policy_of_another_shape_is_no_crash(small: Path, access: str) -> None:
    small.write_text(small.read_text() + OWN + f"    configuration: {{accessControl: {access}}}\n")
    assert findings(small, "EM063") == []


@pytest.mark.parametrize(
    ("region", "message", "mend"),
    [
        ("us-west-1", "AWS IoT Greengrass is not in the region 'us-west-1'", "did you mean `us-west-2`?"),
        ("eu-west-2", "SageMaker Edge Manager is not in the region 'eu-west-2'", "SageMaker Edge Manager is in: ap-"),
        ("eu-centarl-1", "not in the region 'eu-centarl-1'", "did you mean `eu-central-1`?"),
    ],
)
def test_a_region_without_a_service_is_reported_with_those_that_have_it(
    small: Path, region: str, message: str, mend: str
) -> None:
    small.write_text(small.read_text().replace("cloud:\n", f"aws: {{region: {region}}}\ncloud:\n", 1))
    (finding,) = findings(small, "EM038")
    assert message in finding.message
    assert finding.mend.startswith(mend)


def test_the_regions_are_those_of_the_installed_botocore() -> None:
    """A region that AWS opened since then is no mistake: the table may lag behind, and may not invent."""
    import botocore

    partitions = json.loads((Path(botocore.__file__).parent / "data" / "endpoints.json").read_text())["partitions"]
    for name, service in (("AWS IoT Greengrass", "greengrass"), ("SageMaker Edge Manager", "edge.sagemaker")):
        known = set()
        for partition in partitions:
            known |= set(partition["regions"]) & set(partition["services"].get(service, {"endpoints": {}})["endpoints"])
        assert known == REGIONS[name]


def test_the_partitions_are_those_of_the_installed_botocore() -> None:
    import botocore

    partitions = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())["partitions"]
    told = {region: partition_of(region) for each in partitions for region in each["regions"] if "global" not in region}
    meant = {region: each["id"] for each in partitions for region in each["regions"] if "global" not in region}
    assert told == meant
    assert {"aws", "aws-cn", "aws-us-gov"} <= set(told.values())


def test_the_targets_are_those_of_the_installed_botocore() -> None:
    import botocore.session

    model: Any = botocore.session.get_session().get_service_model("sagemaker")
    known = set(model.shape_for("TargetDevice").enum)
    assert known == NEO_DEVICES | NEO_CLOUD
    assert not NEO_DEVICES & NEO_CLOUD
