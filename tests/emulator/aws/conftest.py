"""One embedded AWS for all of these tests, real boto3 clients for it, and the pieces that most calls need."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from emflow_emulator.aws import REGION, EmbeddedAws
from emulator.aws.pieces import recipe
from support import until

JOB_SECONDS = 0.2
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


@pytest.fixture(scope="session")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws(port=0, job_seconds=JOB_SECONDS) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def client(aws: EmbeddedAws) -> Callable[..., Any]:
    """A boto3 client for the embedded AWS; `checked=False` sends what boto3 itself would refuse."""
    made: dict[tuple[object, ...], Any] = {}
    session: Any = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name=REGION)

    def make(service: str, *, region: str = REGION, checked: bool = True, signature_version: str | None = None) -> Any:
        key = (service, region, checked, signature_version)
        if key not in made:
            config = Config(
                parameter_validation=checked, retries={"total_max_attempts": 1}, signature_version=signature_version
            )
            made[key] = session.client(service, region_name=region, endpoint_url=aws.endpoint_url, config=config)
        return made[key]

    return make


@pytest.fixture(scope="session")
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture(scope="session")
def iam(client: Callable[..., Any]) -> Any:
    return client("iam")


@pytest.fixture(scope="session")
def iot(client: Callable[..., Any]) -> Any:
    return client("iot")


@pytest.fixture(scope="session")
def greengrass(client: Callable[..., Any]) -> Any:
    return client("greengrassv2")


@pytest.fixture(scope="session")
def sagemaker(client: Callable[..., Any]) -> Any:
    return client("sagemaker")


_numbers = count(1)


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """A name that no other test has used: everything here shares one AWS."""
    return lambda stem: f"{stem}-{next(_numbers)}"


@pytest.fixture(scope="session")
def bucket(s3: Any) -> str:
    s3.create_bucket(Bucket="made-for-tests")
    return "made-for-tests"


@pytest.fixture(scope="session")
def role(iam: Any) -> str:
    """The ARN of a role that SageMaker may assume."""
    return str(iam.create_role(RoleName="jobs", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"])


@pytest.fixture
def thing(iot: Any, fresh: Callable[[str], str]) -> str:
    """The ARN of a thing."""
    return str(iot.create_thing(thingName=fresh("core"))["thingArn"])


@pytest.fixture(scope="session")
def tflite(scenes_model: Path, request: pytest.FixtureRequest) -> bytes:
    """A real network: the one that the repository ships."""
    if scenes_model.exists():
        return scenes_model.read_bytes()
    folder: Path = request.getfixturevalue("shared_data")
    return (folder / "models" / "mobilenet_v2_1.0_224_quant.tflite").read_bytes()


@pytest.fixture(scope="session")
def inputs(tflite: bytes) -> dict[str, list[int]]:
    """What DataInputConfig has to be for that network."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=tflite).get_input_details()
    return {each["name"]: [int(size) for size in each["shape"]] for each in details}


@pytest.fixture
def store(s3: Any, bucket: str, fresh: Callable[[str], str]) -> Callable[..., str]:
    """Put bytes into S3; gives the URI."""

    def put(data: bytes, name: str = "object") -> str:
        key = f"{fresh('folder')}/{name}"
        s3.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}/{key}"

    return put


@pytest.fixture
def component(greengrass: Any, fresh: Callable[[str], str]) -> Callable[..., Any]:
    """Create a component version and wait until it is DEPLOYABLE; gives its ARN and its name."""

    def create(name: str | None = None, version: str = "1.0.0", **more: Any) -> tuple[str, str]:
        document = recipe(name or fresh("com.example.Made"), version, **more)
        arn = greengrass.create_component_version(inlineRecipe=json.dumps(document).encode())["arn"]
        until(lambda: greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
        return arn, str(document["ComponentName"])

    return create
