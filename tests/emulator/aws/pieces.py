"""Small things that requests are made of."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from collections.abc import Mapping
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from emflow_emulator.access import AccessKey
from emflow_emulator.aws import ACCOUNT, REGION


def recipe(name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """The least that a recipe has."""
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "Manifests": [{"Platform": {"os": "linux"}, "Lifecycle": {"run": "echo hello"}}],
        **more,
    }


def archive(**files: bytes) -> bytes:
    """A .tar.gz; `__` in a keyword is a dot in the file's name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def arn(service: str, resource: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{REGION}:{account}:{resource}"


def signed(
    url: str,
    body: Any,
    key: AccessKey,
    service: str = "emflow",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> urllib.request.Request:
    """A request with a signature of the key's; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = AWSRequest(method, url, {"Content-Type": "application/json", **(headers or {})}, data)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(key.id, key.secret, key.token or None), service, REGION).add_auth(request)
    return urllib.request.Request(url, data, dict(request.headers), method=method)
