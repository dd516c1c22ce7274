"""The services that moto emulates; the gateway passes their requests on to it.

moto's backends are dictionaries without locks, so each service handles one request at a time. Their state belongs to
the process: two embedded AWSs in one process have the same buckets and roles.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from emflow.json_text import from_json, to_json
from emflow_emulator.aws import moto_iot, moto_kms
from emflow_emulator.aws.gateway.refusals import PROTOCOLS, refusal
from emflow_emulator.aws.protocol import Answer

if TYPE_CHECKING:
    from flask import Flask
    from moto.iam.models import IAMBackend

SERVICES = ("iam", "iot", "kms", "s3", "secretsmanager", "sts")
"""The services of moto, by their name in the credential scope of a signature."""

_NOT_THERE = {"rest-xml": "NotImplemented", "query": "InvalidAction"}
"""The error code for an operation that a service does not have; the JSON protocols have another one."""

log = logging.getLogger(__name__)


class MotoBackend:
    """moto's server applications; each service handles one request at a time.

    There is one application for each service, because the gateway already knows the service. moto's own dispatcher
    would search all of moto's services for every request, and also find services that the embedded AWS does not have.
    """

    def __init__(self) -> None:
        self._locks = {service: threading.RLock() for service in SERVICES}
        self._load = threading.Lock()
        self._apps: dict[str, Flask] = {}

    def answer(self, service: str, environ: dict[str, Any]) -> Answer:
        from werkzeug.test import run_wsgi_app

        app = self._application(service)
        with self._locks[service]:
            try:
                chunks, status, headers = run_wsgi_app(app, environ, buffered=True)
                body = b"".join(_bytes(chunks))
            except RecursionError:
                raise
            except Exception as error:  # moto raises exceptions of many types for requests that it does not expect
                return _not_there(service, environ, error)
        # Only cookies would need repeated header names, and no AWS service sets cookies.
        return Answer(int(status.split()[0]), dict(headers), body)

    def _application(self, service: str) -> Flask:
        with self._load:
            if not self._apps:
                from moto.core.config import default_user_config

                # So that the workshop's managed policies can be attached.
                default_user_config["iam"] = {"load_aws_managed_policies": True}
                _read_managed_policies_once()
                _count_loopback_as_secure()
                moto_kms.sign_digests()
                moto_iot.list_child_groups()
            if service not in self._apps:
                from moto.moto_server.werkzeug_app import create_backend_app

                self._apps[service] = create_backend_app(service)  # type: ignore[arg-type]
            return self._apps[service]


def _not_there(service: str, environ: dict[str, Any], error: Exception) -> Answer:
    """The answer to a request that moto does not know, in the form of the service's protocol."""
    what = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    log.warning("%s cannot answer %s: %r", service, what, error)
    why = f": {error}" if isinstance(error, NotImplementedError) else ", or not with these parameters"
    protocol = PROTOCOLS[service]
    code = _NOT_THERE.get(protocol, "UnknownOperationException")
    return refusal(protocol, 501, code, f"the embedded AWS does not have {what} of {service}{why}")


def _read_managed_policies_once() -> None:
    """Make the 1,600 policies that AWS manages once, and let each of moto's IAM backends have copies of them.

    There is a backend for each account and partition, and six of them are made at the first request, and again by every
    `reset`: 0.27 s of CPU time, where reading the same policies six times took 0.86.
    """
    from moto.iam.models import IAMBackend

    read = IAMBackend._init_aws_policies
    if read.__module__ == __name__:  # an earlier EmbeddedAws of this process has done this
        return
    originals: list[Any] = []
    lock = threading.Lock()

    def copies(backend: IAMBackend) -> list[Any]:
        with lock:
            if not originals:
                originals.extend(read(backend))
        return [_copy_of_policy(policy, backend) for policy in originals]

    IAMBackend._init_aws_policies = copies  # type: ignore[assignment]


def _copy_of_policy(policy: Any, backend: IAMBackend) -> Any:
    """A policy for this backend, which may be attached and tagged without an effect on others."""
    made = _shallow_copy(policy)
    made.account_id, made.partition = backend.account_id, backend.partition
    made.tags = dict(policy.tags)
    made.versions = [_shallow_copy(version) for version in policy.versions]
    for version in made.versions:
        version.policy_arn = made.arn
    return made


def _shallow_copy(original: Any) -> Any:
    """As of copy.copy, in a tenth of the time, and not in the list that moto keeps of all its objects."""
    made = object.__new__(type(original))
    vars(made).update(vars(original))
    return made


def _count_loopback_as_secure() -> None:
    """Make bucket policies that deny plain HTTP have no effect, because all requests come from this machine.

    moto 5.2 ignores the conditions of a Deny statement, so such a policy would deny all requests to the bucket.
    """
    from moto.s3.models import FakeBucket

    ask = FakeBucket.get_permission
    if ask.__module__ == __name__:  # an earlier EmbeddedAws of this process has done this
        return

    def get_permission(bucket: FakeBucket, action: str, resource: str) -> Any:
        policy = bucket.policy
        if policy is None:
            return ask(bucket, action, resource)
        document = from_json(policy)
        document["Statement"] = [each for each in _listed(document["Statement"]) if not _on_plain_http(each)]
        bucket.policy = to_json(document).encode()
        try:
            return ask(bucket, action, resource)
        finally:
            bucket.policy = policy

    FakeBucket.get_permission = get_permission  # type: ignore[assignment]


def _on_plain_http(statement: dict[str, Any]) -> bool:
    secure = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return "false" in [str(value).lower() for value in _listed(secure)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def reset() -> None:
    """Empty every backend of this process."""
    from moto.core.config import default_user_config
    from moto.moto_api._internal.models import moto_api_backend

    default_user_config["iam"] = {"load_aws_managed_policies": True}
    moto_api_backend.reset()


def _bytes(chunks: Iterable[Any]) -> Iterable[bytes]:
    for chunk in chunks:
        yield chunk.encode() if isinstance(chunk, str) else chunk
