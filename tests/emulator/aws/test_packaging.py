"""Edge packaging: the compiled network, signed, in S3, and as a component that a device can install."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from emulator.aws.pieces import archive, arn, recipe
from support import until


@pytest.fixture(scope="module")
def compiled(sagemaker: Any, s3: Any, bucket: str, role: str, tflite: bytes, inputs: dict[str, list[int]]) -> str:
    """The name of a compilation job that COMPLETED."""
    s3.put_object(Bucket=bucket, Key="to-package/net.tar.gz", Body=archive(net__tflite=tflite))
    sagemaker.create_compilation_job(
        CompilationJobName="to-package",
        RoleArn=role,
        InputConfig={
            "S3Uri": f"s3://{bucket}/to-package/net.tar.gz",
            "Framework": "TFLITE",
            "DataInputConfig": json.dumps(inputs),
        },
        OutputConfig={"S3OutputLocation": f"s3://{bucket}/to-package", "TargetDevice": "imx8mplus"},
        StoppingCondition={"MaxRuntimeInSeconds": 900},
    )
    until(
        lambda: (
            sagemaker.describe_compilation_job(CompilationJobName="to-package")["CompilationJobStatus"] == "COMPLETED"
        )
    )
    return "to-package"


@pytest.fixture
def package(
    sagemaker: Any, bucket: str, role: str, compiled: str, fresh: Callable[[str], str]
) -> Callable[..., dict[str, Any]]:
    """Run a packaging job to its end; gives its description."""

    def run(preset: Any = None, **change: Any) -> dict[str, Any]:
        name = fresh("package")
        output = {"S3OutputLocation": f"s3://{bucket}/packaged/{name}/"}
        if preset is not None:
            text = preset if isinstance(preset, str) else json.dumps(preset)
            output |= {"PresetDeploymentType": "GreengrassV2Component", "PresetDeploymentConfig": text}
        request = {
            "EdgePackagingJobName": name,
            "CompilationJobName": compiled,
            "ModelName": "mobilenetv2-224-10-quant",
            "ModelVersion": "1.0",
            "RoleArn": role,
            "OutputConfig": output,
            **change,
        }
        sagemaker.create_edge_packaging_job(**request)
        name = request["EdgePackagingJobName"]

        def describe() -> dict[str, Any]:
            answer: dict[str, Any] = sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name)
            return answer

        assert describe()["EdgePackagingJobStatus"] in ("STARTING", "INPROGRESS")
        until(lambda: describe()["EdgePackagingJobStatus"] in ("COMPLETED", "FAILED"))
        return describe()

    return run


def unpacked(s3: Any, uri: str) -> dict[str, bytes]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    data = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {name: file.read() for name in tar.getnames() if (file := tar.extractfile(name))}


def test_a_package_holds_the_network_and_a_signed_manifest(s3: Any, package: Callable[..., Any], tflite: bytes) -> None:
    done = package()
    assert done["EdgePackagingJobStatus"] == "COMPLETED"
    assert done["ModelArtifact"].endswith("/mobilenetv2-224-10-quant-1.0.tar.gz")
    files = unpacked(s3, done["ModelArtifact"])
    assert set(files) == {"net.tflite", "neo.json", "manifest.json", "manifest.sig", "certificate.pem"}
    assert files["net.tflite"] == tflite

    manifest = json.loads(files["manifest.json"])
    assert (manifest["model_name"], manifest["model_version"]) == ("mobilenetv2-224-10-quant", "1.0")
    assert manifest["files"] == {name: hashlib.sha256(files[name]).hexdigest() for name in ("net.tflite", "neo.json")}
    key = x509.load_pem_x509_certificate(files["certificate.pem"]).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = base64.b64decode(files["manifest.sig"])
    key.verify(signature, files["manifest.json"], ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, files["manifest.json"] + b" ", ec.ECDSA(hashes.SHA256()))
    assert json.loads(done["ModelSignature"])["manifest"].encode() == files["manifest.json"]
    assert "PresetDeploymentOutput" not in done


def test_the_component_unpacks_the_package_into_its_work_folder(
    greengrass: Any, s3: Any, package: Callable[..., Any], fresh: Callable[[str], str], tflite: bytes, tmp_path: Path
) -> None:
    name = fresh("mobilenetv2_224_quantized_model_component")
    done = package({"ComponentName": name, "ComponentVersion": "1.2.0", "ComponentDescription": "Packaged"})
    made = arn("greengrass", f"components:{name}:versions:1.2.0")
    assert done["PresetDeploymentOutput"] == {
        "Type": "GreengrassV2Component",
        "Artifact": made,
        "Status": "COMPLETED",
        "StatusMessage": f"Component {name} 1.2.0 was created.",
    }
    document = json.loads(greengrass.get_component(arn=made)["recipe"])
    assert document["ComponentDescription"] == "Packaged"
    (manifest,) = document["Manifests"]
    assert manifest["Platform"] == {"os": "linux", "runtime": "*"}
    (artifact,) = manifest["Artifacts"]
    assert artifact["Uri"] == done["ModelArtifact"]

    # Run the install step as a device does.
    bucket, _, key = artifact["Uri"].removeprefix("s3://").partition("/")
    data = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert base64.b64encode(hashlib.sha256(data).digest()).decode() == artifact["Digest"]
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "artifacts" / key.rpartition("/")[2]).write_bytes(data)
    script = manifest["Lifecycle"]["install"]["Script"]
    script = script.replace("{artifacts:path}", str(tmp_path / "artifacts")).replace(
        "{work:path}", str(tmp_path / "work")
    )
    subprocess.run(["sh", "-c", script], check=True)
    assert (tmp_path / "work" / "net.tflite").read_bytes() == tflite


def test_what_the_preset_does_not_say_is_filled_in(package: Callable[..., Any]) -> None:
    done = package({})
    name = f"SagemakerEdgeManager{done['EdgePackagingJobName']}"
    assert done["PresetDeploymentOutput"]["Artifact"] == arn("greengrass", f"components:{name}:versions:1.0.0")


def test_a_component_version_that_exists_fails_the_job(
    greengrass: Any, component: Callable[..., Any], package: Callable[..., Any]
) -> None:
    _, name = component()
    failed = package({"ComponentName": name, "ComponentVersion": "1.0.0"})
    assert failed["EdgePackagingJobStatus"] == "FAILED"
    assert failed["PresetDeploymentOutput"]["Status"] == "FAILED"
    assert "already exists" in failed["PresetDeploymentOutput"]["StatusMessage"]
    assert "already exists" in failed["EdgePackagingJobStatusMessage"]


def test_a_component_that_greengrass_refuses_fails_the_job(package: Callable[..., Any]) -> None:
    failed = package({"ComponentName": "fine", "ComponentVersion": "1.0"})
    assert "no semantic version" in failed["EdgePackagingJobStatusMessage"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role"),
        ({"ModelName": "under_score"}, "regular expression"),
        ({"ModelVersion": "1-0"}, "regular expression"),
        ({"ModelVersion": "1" * 31}, "less than or equal to 30"),
        ({"CompilationJobName": "never-was"}, "Could not find compilation job never-was"),
        ({"preset": "{ComponentName: x}"}, "PresetDeploymentConfig is not JSON"),
        ({"preset": ["x"]}, "JSON object of strings"),
        ({"preset": {"ComponentVersion": 1.0}}, "JSON object of strings"),
        ({"OutputConfig": {"S3OutputLocation": "s3://b", "PresetDeploymentConfig": "{}"}}, "PresetDeploymentType"),
    ],
)
def test_a_request_that_cannot_work_is_refused_at_once(
    package: Callable[..., Any], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        package(**change)


def test_only_a_completed_compilation_is_packaged(
    sagemaker: Any, package: Callable[..., Any], bucket: str, role: str, fresh: Callable[[str], str]
) -> None:
    name = fresh("unfinished")
    sagemaker.create_compilation_job(
        CompilationJobName=name,
        RoleArn=role,
        InputConfig={"S3Uri": f"s3://{bucket}/nothing.tar.gz", "Framework": "TFLITE"},
        OutputConfig={"S3OutputLocation": f"s3://{bucket}/", "TargetDevice": "imx8mplus"},
        StoppingCondition={"MaxRuntimeInSeconds": 900},
    )
    with pytest.raises(ClientError, match="is packaged from a COMPLETED one"):
        package(CompilationJobName=name)


def test_a_name_is_used_once(sagemaker: Any, package: Callable[..., Any]) -> None:
    done = package()
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="with this name already exists"):
        package(EdgePackagingJobName=done["EdgePackagingJobName"])


def test_jobs_are_listed_and_ended_ones_not_stopped(sagemaker: Any, package: Callable[..., Any]) -> None:
    done = package(ModelName="listed-model")
    (found,) = sagemaker.list_edge_packaging_jobs(ModelNameContains="listed-model")["EdgePackagingJobSummaries"]
    assert found["EdgePackagingJobName"] == done["EdgePackagingJobName"]
    assert found["EdgePackagingJobStatus"] == "COMPLETED"
    with pytest.raises(ClientError, match="is in status COMPLETED"):
        sagemaker.stop_edge_packaging_job(EdgePackagingJobName=found["EdgePackagingJobName"])
    tags = [{"Key": "a", "Value": "b"}]
    sagemaker.add_tags(ResourceArn=found["EdgePackagingJobArn"], Tags=tags)
    assert sagemaker.list_tags(ResourceArn=found["EdgePackagingJobArn"])["Tags"] == tags


def test_a_component_of_ones_own_can_depend_on_the_package(
    greengrass: Any, component: Callable[..., Any], package: Callable[..., Any], fresh: Callable[[str], str]
) -> None:
    model = fresh("model")
    package({"ComponentName": model, "ComponentVersion": "1.0.0"})
    _, name = component(ComponentDependencies={model: {"VersionRequirement": "==1.0.0", "DependencyType": "HARD"}})
    stored = greengrass.resolve_component_candidates(componentCandidates=[{"componentName": name}])
    document = json.loads(stored["resolvedComponentVersions"][0]["recipe"])
    needs = recipe(name)["ComponentName"], document["ComponentDependencies"][model]["VersionRequirement"]
    assert needs == (name, "==1.0.0")
