"""Boto3 clients: one for each service, configured once, for all threads of a run.

Credentials and endpoints are left to boto3: environment, profiles, SSO, AWS_ENDPOINT_URL. The first call of a run asks
STS for the identity. It fails within seconds where credentials or the network are missing, and then every other call
fails with the same message instead of retrying for a minute.

A call that is throttled, that gets a server error or that gets no answer is retried by botocore's standard mode: after
pauses that grow and are randomised, at most `ATTEMPTS` times, and only as long as the client's budget of retries lasts,
which successful calls fill again; so a service in trouble does not get more load
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html). A call that a service refuses because
another change of the same thing is under way is retried too; botocore does not do that.

Every answer has a limit of size and time (`answer_limits`).

Names of buckets are global, so a bucket may belong to another account, with any tags on it. Every call to S3 about a
bucket therefore names the account that it has to belong to; S3 refuses it otherwise, with 403
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html).
"""

from __future__ import annotations

import random
import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from emflow import __version__
from emflow.engine.answer_limits import limit_answers
from emflow.engine.call_log import log_calls
from emflow.engine.errors import as_problem, name_calls, not_an_aws_answer
from emflow.problems import Problem
from emflow.workflow.aws_regions import partition_of
from emflow.workflow.model import Aws

ATTEMPTS = 8
"""Calls in all, the first included; botocore waits at most 20 s between two."""

BUSY = frozenset(
    {
        "ConcurrentModification",
        "ConcurrentModificationException",
        "ConditionalRequestConflict",
        "EntityTemporarilyUnmodifiable",
        "OperationAborted",
        "RequestAlreadyInProgressException",
    }
)
"""Error codes for: another change of this is under way, try again."""

MAX_BUSY_PAUSE = 10.0
"""Seconds between two attempts at most, while something is busy."""


class Clients:
    """The clients of a run; safe to use from several threads.

    Args:
        aws: region and profile.
        session: to observe each call with `session.events`; None makes one.

    Raises:
        Problem: there is no such profile.
    """

    def __init__(self, aws: Aws, session: boto3.Session | None = None) -> None:
        self.region = aws.region
        try:
            self._session = session or boto3.Session(region_name=aws.region, profile_name=aws.profile)
        except BotoCoreError as error:
            raise as_problem(error) from error
        name_calls(self._session.events)
        log_calls(self._session.events)
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._account: str | Problem | None = None

    def __call__(self, service: str) -> Any:
        """The client of a service, such as `s3`.

        Raises:
            Problem: there are no valid credentials, or AWS is out of reach.
        """
        with self._lock:
            self._identify()
            if service not in self._clients:
                self._clients[service] = self._make(service, ATTEMPTS)
            return self._clients[service]

    @property
    def account(self) -> str:
        """The number of the AWS account. Raises as a call does."""
        with self._lock:
            return self._identify()

    @property
    def partition(self) -> str:
        """`aws`, or `aws-cn` and the like: the second part of every ARN."""
        return partition_of(self.region)

    def arn(self, service: str, name: str) -> str:
        """The ARN of something in this account and region, such as `arn("iot", "thing/camera-1")`."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"

    def _identify(self) -> str:
        if self._account is None:
            try:
                self._account = self._ask_account(2)
            except (BotoCoreError, ClientError) as error:
                self._account = as_problem(error)
            except (KeyError, ResponseParserError) as error:  # the answer is not of AWS
                self._account = not_an_aws_answer(error)
            except Problem as problem:
                self._account = problem
        if isinstance(self._account, Problem):
            raise self._account
        return self._account

    def _ask_account(self, attempts: int) -> str:
        try:
            return str(self._make("sts", attempts).get_caller_identity()["Account"])
        except ClientError as error:
            # There was an answer, so the network and the credentials are there: then longer retries make sense.
            if attempts < ATTEMPTS and (error.response["ResponseMetadata"].get("RetryAttempts") or 0) > 0:
                return self._ask_account(ATTEMPTS)
            raise

    def _make(self, service: str, attempts: int) -> Any:
        try:
            client = self._session.client(  # type: ignore[call-overload]
                service,
                region_name=self.region,
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": attempts},
                    user_agent_extra=f"emflow/{__version__}",
                    connect_timeout=5,
                    # Several resources may call one service at a time, each with several reads in parallel.
                    max_pool_connections=32,
                ),
            )
        except BotoCoreError as error:
            raise as_problem(error) from error
        except ValueError as error:
            raise Problem(
                str(error), where=service, mend="AWS_ENDPOINT_URL has to be an address such as http://localhost:4566."
            ) from error
        limit_answers(client)
        if service == "s3":
            client.meta.events.register("provide-client-params.s3", self._name_bucket_owner)
        client.meta.events.register(f"needs-retry.{client.meta.service_model.service_id.hyphenize()}", _when_busy)
        return client

    def _name_bucket_owner(self, params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
        """For botocore: the parameters of a call to S3, with the account that the bucket has to belong to."""
        shape = model.input_shape
        if shape is None or "ExpectedBucketOwner" not in shape.members:
            return params  # such as CreateBucket: there is no bucket yet
        return {"ExpectedBucketOwner": self.account, **params}


def _when_busy(response: Any, attempts: int, operation: Any, **_: Any) -> float | None:
    """For botocore: seconds until the next attempt where something is busy, None where it is not."""
    if response is None or attempts >= ATTEMPTS or response[1].get("Error", {}).get("Code") not in BUSY:
        return None
    if operation.name == "CreateBucket":  # can take minutes after a deletion: the caller reports that it waits
        return None
    return random.uniform(0, min(0.25 * 2**attempts, MAX_BUSY_PAUSE))  # noqa: S311 only to separate those that collided
