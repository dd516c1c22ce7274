"""All that render writes: the same bytes in every process, for one component or for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from emflow.problems import UsageProblem
from emflow.recipes.bundle import application_bundle, bundle_key
from emflow.recipes.render_output import rendered_files
from emflow.workflow import Workflow

APPLICATION = "com.example.Scenes"
AGENT = "aws.greengrass.SageMakerEdgeManager"


def test_everything_is_there(demo: Workflow) -> None:
    made = rendered_files(demo)
    key = bundle_key(APPLICATION, application_bundle(demo))
    assert set(made) == {
        f"recipes/{APPLICATION}-1.0.0.yaml",
        f"configuration/{APPLICATION}.json",
        f"configuration/{AGENT}.json",
        "deployment.json",
        key,
    }
    recipe = yaml.safe_load(made[f"recipes/{APPLICATION}-1.0.0.yaml"])
    assert recipe["Manifests"][0]["Artifacts"][0]["Uri"] == f"s3://emflow-demo-gg-components/{key}"
    deployment = json.loads(made["deployment.json"])
    assert deployment["targetArn"] == "arn:aws:iot:us-east-1:<account>:thing/iMX8MPEVK-Core-001"
    assert json.loads(deployment["components"][AGENT]["configurationUpdate"]["merge"]) == json.loads(
        made[f"configuration/{AGENT}.json"]
    )


def test_one_components_documents_are_the_same_ones(demo: Workflow) -> None:
    made = rendered_files(demo)
    for component, count in ((APPLICATION, 3), (AGENT, 1)):
        some = rendered_files(demo, component)
        assert len(some) == count
        assert some.items() <= made.items()


def test_an_explicit_version_is_used(changed) -> None:
    made = rendered_files(changed(("version: auto", "version: 2.3.4")))
    assert yaml.safe_load(made[f"recipes/{APPLICATION}-2.3.4.yaml"])["ComponentVersion"] == "2.3.4"
    assert json.loads(made["deployment.json"])["components"][APPLICATION]["componentVersion"] == "2.3.4"


def test_an_unknown_component_is_reported_with_the_known_ones(demo: Workflow) -> None:
    with pytest.raises(UsageProblem) as raised:
        rendered_files(demo, "com.example.X")
    assert APPLICATION in raised.value.mend
    assert AGENT in raised.value.mend


def test_the_same_bytes_in_processes_that_hash_differently(demo: Workflow) -> None:
    code = (
        "import hashlib, sys; from pathlib import Path\n"
        "from emflow.recipes.render_output import rendered_files; from emflow.workflow import load\n"
        "for name, content in rendered_files(load(Path(sys.argv[1]))).items():\n"
        "    data = content if isinstance(content, bytes) else content.encode()\n"
        "    print(name, hashlib.sha256(data).hexdigest())\n"
    )
    path = Path(demo.folder, "demo.yaml")
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("4242", "Asia/Tokyo"))
    ]
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 5


def test_the_target_is_in_the_partition_of_the_region(demo: Workflow) -> None:
    workflow = replace(demo, aws=replace(demo.aws, region="cn-north-1"))
    assert json.loads(rendered_files(workflow)["deployment.json"])["targetArn"].startswith("arn:aws-cn:iot:cn-north-1:")
