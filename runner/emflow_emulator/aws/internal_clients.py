"""Clients with which the embedded Greengrass and SageMaker call the embedded S3, IAM and IoT.

They send HTTP requests with boto3 through the gateway, as the real services do; so nothing depends on how moto stores
its state.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from emflow_emulator.access import AccessKey
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import invalid

if TYPE_CHECKING:
    from botocore.client import BaseClient


@dataclass(frozen=True)
class S3Object:
    """The address of an object."""

    bucket: str
    key: str

    @classmethod
    def at(cls, uri: str) -> S3Object:
        """Parse `s3://bucket/key`.

        Raises:
            ValueError: it is not an S3 URI.
        """
        # Not with urlsplit: a key may contain characters that end the path of a URL, such as "#".
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket:
            raise ValueError(f"{uri!r} is not an S3 URI such as s3://bucket/key")
        return cls(bucket, key.lstrip("/"))

    def child(self, name: str) -> S3Object:
        prefix = self.key.rstrip("/")
        return S3Object(self.bucket, f"{prefix}/{name}" if prefix else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def folder(output_config: Mapping[str, Any]) -> S3Object:
    """The S3 folder for the result of a job, from its OutputConfig.

    Raises:
        ApiError: S3OutputLocation is not an s3:// URI.
    """
    try:
        return S3Object.at(output_config["S3OutputLocation"])
    except ValueError as error:
        raise invalid(f"OutputConfig.S3OutputLocation: {error}") from error


class InternalClients:
    """Clients for the other services of the same embedded AWS, in one region, with the run's own access key."""

    def __init__(self, endpoint_url: str, account_region: AccountRegion, key: AccessKey) -> None:
        self.account_region = account_region
        self._endpoint_url = endpoint_url
        self._clients: dict[str, BaseClient] = {}
        self._lock = threading.Lock()
        # The user's profile is not used: it may name another account, a proxy or another endpoint.
        self._session = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
        self._session.set_credentials(key.id, key.secret)

    def __call__(self, service: str) -> Any:
        """A boto3 client, made at the first call."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.create_client(
                    service,
                    region_name=self.account_region.region,
                    endpoint_url=self._endpoint_url,
                    config=Config(proxies={}, s3={"addressing_style": "path"}, max_pool_connections=16),
                )
            return self._clients[service]

    def read(self, where: S3Object) -> bytes:
        """The bytes of an object.

        Raises:
            ClientError: S3 has no such object.
        """
        data: bytes = self._get_object(where).read()
        return data

    def sha256(self, where: S3Object) -> bytes:
        """The SHA-256 of an object's bytes, read in pieces.

        Raises:
            ClientError: S3 has no such object.
        """
        digest = hashlib.sha256()
        for chunk in self._get_object(where).iter_chunks(1 << 20):
            digest.update(chunk)
        return digest.digest()

    def write(self, where: S3Object, data: bytes) -> None:
        """Store an object.

        Raises:
            ClientError: there is no such bucket.
        """
        with _impossible_names("PutObject"):
            self("s3").put_object(Bucket=where.bucket, Key=where.key, Body=data)

    def _get_object(self, where: S3Object) -> Any:
        with _impossible_names("GetObject"):
            return self("s3").get_object(Bucket=where.bucket, Key=where.key)["Body"]

    def check_role(self, arn: str) -> None:
        """Check that SageMaker may assume a role.

        Raises:
            ApiError: the role does not exist, or does not trust SageMaker; with AWS's message.
        """
        try:
            with _impossible_names("GetRole"):
                role = self("iam").get_role(RoleName=arn.rpartition("/")[2])["Role"]
        except ClientError:
            role = None
        if role is None or role["Arn"] != arn or not trusts(role["AssumeRolePolicyDocument"], "sagemaker"):
            raise invalid(
                f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role."
            )


@contextmanager
def _impossible_names(operation: str) -> Iterator[None]:
    """What no bucket or role can be called, botocore refuses before it asks; AWS's answer is that there is none.

    Raises:
        ClientError: in place of botocore's own error.
    """
    try:
        yield
    except ParamValidationError as error:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": str(error)}}, operation) from error


def trusts(policy: dict[str, Any], service: str) -> bool:
    """Whether a trust policy allows `service` to assume the role. Conditions are ignored."""
    principal = f"{service}.amazonaws.com"
    for statement in _listed(policy.get("Statement")):
        services = _listed((statement.get("Principal") or {}).get("Service"))
        if statement.get("Effect") == "Allow" and principal in services:
            return True
    return False


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
