"""Neo: jobs that take time, read the network they are given, and say what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emflow_emulator.aws.internal_clients import S3Object
from emulator.aws.pieces import archive
from support import until


@pytest.fixture
def compile_job(
    sagemaker: Any, bucket: str, role: str, inputs: dict[str, list[int]], fresh: Callable[[str], str]
) -> Callable[..., str]:
    """Start a compilation; gives its name."""

    def start(uri: str, *, wanted: Any = None, output: dict[str, Any] | None = None, **change: Any) -> str:
        name = fresh("compile")
        config = {"S3Uri": uri, "Framework": "TFLITE", "DataInputConfig": json.dumps(wanted or inputs)}
        request = {
            "CompilationJobName": name,
            "RoleArn": role,
            "InputConfig": config,
            "OutputConfig": {
                "S3OutputLocation": f"s3://{bucket}/compiled",
                **(output or {"TargetDevice": "imx8mplus"}),
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 900},
            **change,
        }
        sagemaker.create_compilation_job(**request)
        return name

    return start


@pytest.fixture
def ended(sagemaker: Any) -> Callable[[str], dict[str, Any]]:
    """Wait for a compilation to end; gives its description."""

    def wait(name: str) -> dict[str, Any]:
        def status() -> bool:
            described = sagemaker.describe_compilation_job(CompilationJobName=name)
            return described["CompilationJobStatus"] in ("COMPLETED", "FAILED", "STOPPED")

        until(status, what=f"the end of {name}")
        answer: dict[str, Any] = sagemaker.describe_compilation_job(CompilationJobName=name)
        return answer

    return wait


@pytest.fixture
def network(store: Callable[..., str], tflite: bytes) -> str:
    """The URI of an archive with one network and other files beside it."""
    return store(archive(net__tflite=tflite, net__pb=b"not looked at"), "net.tar.gz")


def read(s3: Any, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    data: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return data


def test_a_job_goes_through_its_states_and_leaves_an_archive(
    sagemaker: Any,
    s3: Any,
    bucket: str,
    network: str,
    tflite: bytes,
    inputs: dict[str, list[int]],
    compile_job: Callable[..., str],
    ended: Callable[[str], dict[str, Any]],
) -> None:
    name = compile_job(network)
    first = sagemaker.describe_compilation_job(CompilationJobName=name)
    assert first["CompilationJobStatus"] == "STARTING"
    assert first["ModelArtifacts"]["S3ModelArtifacts"] == ""
    seen = set()

    def running() -> bool:
        seen.add(sagemaker.describe_compilation_job(CompilationJobName=name)["CompilationJobStatus"])
        return "COMPLETED" in seen

    until(running)
    assert seen <= {"STARTING", "INPROGRESS", "COMPLETED"}
    assert "INPROGRESS" in seen

    last = ended(name)
    assert last["FailureReason"] == ""
    assert last["CompilationStartTime"] < last["CompilationEndTime"]
    assert last["InputConfig"]["S3Uri"] == network
    assert last["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{bucket}/compiled/net-imx8mplus.tar.gz"
    data = read(s3, last["ModelArtifacts"]["S3ModelArtifacts"])
    assert last["ModelDigests"]["ArtifactDigest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert sorted(tar.getnames()) == ["neo.json", "net.tflite"]
        stored, described = tar.extractfile("net.tflite"), tar.extractfile("neo.json")
        assert stored
        assert described
        assert stored.read() == tflite
        manifest = json.load(described)
    assert {each["name"]: each["shape"] for each in manifest["inputs"]} == inputs
    assert "the network is not changed" in manifest["compiler"]


def test_a_target_platform_will_do_instead_of_a_device(
    network: str, compile_job: Callable[..., str], ended: Callable[[str], dict[str, Any]]
) -> None:
    platform = {"TargetPlatform": {"Os": "LINUX", "Arch": "ARM64"}}
    done = ended(compile_job(network, output=platform))
    assert done["ModelArtifacts"]["S3ModelArtifacts"].endswith("/compiled/net-LINUX_ARM64.tar.gz")
    assert done["OutputConfig"]["TargetPlatform"] == platform["TargetPlatform"]


def test_without_data_input_config_the_shapes_are_derived(
    network: str,
    inputs: dict[str, list[int]],
    compile_job: Callable[..., str],
    ended: Callable[[str], dict[str, Any]],
) -> None:
    done = ended(compile_job(network, InputConfig={"S3Uri": network, "Framework": "TFLITE"}))
    assert json.loads(done["DerivedInformation"]["DerivedDataInputConfig"]) == inputs


def test_inputs_that_are_not_the_networks_fail_the_job_and_both_are_named(
    network: str, compile_job: Callable[..., str], ended: Callable[[str], dict[str, Any]], inputs: dict[str, list[int]]
) -> None:
    (name,) = inputs
    for wanted in ({name: [1, 7, 7, 3]}, {"another": inputs[name]}, {name: inputs[name], "more": [1]}):
        failed = ended(compile_job(network, wanted=wanted))
        assert failed["CompilationJobStatus"] == "FAILED"
        assert json.dumps(wanted) in failed["FailureReason"]
        assert json.dumps(inputs) in failed["FailureReason"]
        assert "net.tflite" in failed["FailureReason"]
        assert failed["ModelArtifacts"]["S3ModelArtifacts"] == ""


def test_the_archive_has_to_hold_one_network(
    store: Callable[..., str],
    tflite: bytes,
    compile_job: Callable[..., str],
    ended: Callable[[str], dict[str, Any]],
    bucket: str,
) -> None:
    reasons = {
        store(b"no archive"): "not a .tar.gz archive",
        store(archive(readme__txt=b"hello")): "No tflite file provided",
        store(archive(a__tflite=tflite, b__tflite=tflite)): "when only one is allowed: a.tflite, b.tflite",
        store(archive(net__tflite=b"TFL3 but not really")): "net.tflite is not a TFLite network",
        f"s3://{bucket}/nothing.tar.gz": "NoSuchKey",
        "s3://no-such-bucket-here/net.tar.gz": "NoSuchBucket",
    }
    jobs = {compile_job(uri): words for uri, words in reasons.items()}
    for name, words in jobs.items():
        failed = ended(name)
        assert failed["CompilationJobStatus"] == "FAILED"
        assert words in failed["FailureReason"]


def test_a_bucket_that_cannot_be_written_fails_the_job(
    network: str, compile_job: Callable[..., str], ended: Callable[[str], dict[str, Any]]
) -> None:
    output = {"S3OutputLocation": "s3://no-such-bucket-here/out", "TargetDevice": "imx8mplus"}
    failed = ended(compile_job(network, output=output))
    assert failed["FailureReason"].startswith(
        "ClientError: cannot write s3://no-such-bucket-here/out/net-imx8mplus.tar.gz: NoSuchBucket"
    )


def test_a_name_is_used_once_even_when_its_job_is_deleted(
    sagemaker: Any, network: str, compile_job: Callable[..., str], ended: Callable[[str], dict[str, Any]]
) -> None:
    name = compile_job(network)
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="with this name already exists"):
        compile_job(network, CompilationJobName=name)
    with pytest.raises(ClientError, match="stop it before you delete it"):
        sagemaker.delete_compilation_job(CompilationJobName=name)
    ended(name)
    sagemaker.delete_compilation_job(CompilationJobName=name)
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.describe_compilation_job(CompilationJobName=name)
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        compile_job(network, CompilationJobName=name)


def test_a_job_can_be_stopped(
    sagemaker: Any, network: str, compile_job: Callable[..., str], ended: Callable[[str], dict[str, Any]]
) -> None:
    name = compile_job(network)
    sagemaker.stop_compilation_job(CompilationJobName=name)
    assert ended(name)["CompilationJobStatus"] == "STOPPED"
    with pytest.raises(ClientError, match="is in status STOPPED"):
        sagemaker.stop_compilation_job(CompilationJobName=name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role"),
        ({"OutputConfig": {"S3OutputLocation": "s3://b/o"}}, "Exactly one of TargetDevice and TargetPlatform"),
        ({"OutputConfig": {"S3OutputLocation": "https://b/o", "TargetDevice": "imx8mplus"}}, "not an S3 URI"),
        ({"OutputConfig": {"S3OutputLocation": "s3://b/o", "TargetDevice": "toaster"}}, "enum value set"),
        ({"InputConfig": {"S3Uri": "s3://b/k", "Framework": "PYTORCH"}}, "TFLITE networks only, not PYTORCH"),
        (
            {"InputConfig": {"S3Uri": "s3://b/k", "Framework": "TFLITE", "DataInputConfig": "{input: 1}"}},
            "DataInputConfig is not JSON",
        ),
        (
            {"InputConfig": {"S3Uri": "s3://b/k", "Framework": "TFLITE", "DataInputConfig": '{"input": "1,2"}'}},
            "must be like",
        ),
    ],
)
def test_a_request_that_cannot_work_is_refused_at_once(
    compile_job: Callable[..., str], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words) as refused:
        compile_job("s3://bucket/net.tar.gz", **change)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_jobs_are_listed_filtered_and_sorted(
    sagemaker: Any,
    network: str,
    compile_job: Callable[..., str],
    ended: Callable[[str], dict[str, Any]],
    fresh: Callable[[str], str],
) -> None:
    prefix = fresh("listed")
    for letter in "abc":
        compile_job(network, CompilationJobName=f"{prefix}-{letter}")
    for letter in "abc":
        ended(f"{prefix}-{letter}")
    pages = list(
        sagemaker.get_paginator("list_compilation_jobs").paginate(
            NameContains=prefix, StatusEquals="COMPLETED", SortBy="Name", PaginationConfig={"PageSize": 2}
        )
    )
    found = [each for page in pages for each in page["CompilationJobSummaries"]]
    assert [each["CompilationJobName"][-1] for each in found] == ["c", "b", "a"]
    assert found[0]["CompilationTargetDevice"] == "imx8mplus"
    minute = timedelta(minutes=1)
    for asked, number in (
        ({"CreationTimeAfter": found[0]["CreationTime"] - minute}, 3),
        ({"CreationTimeAfter": found[0]["CreationTime"] + minute}, 0),
        ({"CreationTimeBefore": found[0]["CreationTime"] + minute}, 3),
        ({"LastModifiedTimeBefore": found[0]["CreationTime"] - minute}, 0),
    ):
        listed = sagemaker.list_compilation_jobs(NameContains=prefix, **asked)["CompilationJobSummaries"]
        assert len(listed) == number
    assert not sagemaker.list_compilation_jobs(NameContains=prefix, StatusEquals="FAILED")["CompilationJobSummaries"]


def test_the_workshops_network_compiles_with_the_workshops_settings(
    shared_data: Any, store: Callable[..., str], compile_job: Callable[..., str], ended: Callable[[str], dict[str, Any]]
) -> None:
    model = (shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite").read_bytes()
    uri = store(archive(mobilenet__tflite=model), "mobilenet_v2_1.0_224_quant.tgz")
    done = ended(compile_job(uri, wanted={"input": [1, 224, 224, 3]}))
    assert done["CompilationJobStatus"] == "COMPLETED", done["FailureReason"]
    assert done["ModelArtifacts"]["S3ModelArtifacts"].endswith("/mobilenet_v2_1.0_224_quant-imx8mplus.tar.gz")


def test_a_key_may_hold_what_would_end_the_path_of_a_web_address() -> None:
    assert S3Object.at("s3://bucket/a#1/b?c") == S3Object("bucket", "a#1/b?c")
    with pytest.raises(ValueError, match="not an S3 URI"):
        S3Object.at("https://bucket/a")
