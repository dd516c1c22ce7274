"""One boto3 client a service, configured once, for all threads of a run.

Where the calls go and who makes them is boto3's business: environment, profiles, SSO, AWS_ENDPOINT_URL. The first call
of a run asks STS who we are. It fails within seconds where credentials or the network are missing, and then everything
else fails with the same words instead of retrying for a minute.

What AWS answers with "slow down", with a server error or not at all is tried again by botocore's standard mode: after
pauses that grow and are cut at random, `ATTEMPTS` times at most, and only as long as the client's budget of retries
lasts, which what goes well fills again; so a service in trouble is not beaten further
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html). Besides, what a service refuses because
another change of the same thing is under way is tried again; botocore takes that for final.
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
"""Error codes of IAM, S3 and Greengrass for: another change of this is under way, ask again."""

SLOWEST = 10.0
"""Seconds between two tries of a busy thing at most."""


class Clients:
    """Hands out clients; safe to use from several threads.

    Args:
        aws: region and profile.
        session: for whoever wants to see each call (`session.events`); None makes one.

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
            Problem: nobody is signed in, or AWS is out of reach.
        """
        with self._lock:
            self._identify()
            if service not in self._clients:
                self._clients[service] = self._make(service, ATTEMPTS)
            return self._clients[service]

    @property
    def account(self) -> str:
        """The number of the account that pays. Raises as a call does."""
        with self._lock:
            return self._identify()

    @property
    def partition(self) -> str:
        """`aws`, or `aws-cn` and the like: the second part of every ARN."""
        return partition_of(self.region)

    def arn(self, service: str, name: str) -> str:
        """The ARN of something regional of ours, such as `arn("iot", "thing/camera-1")`."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"

    def _identify(self) -> str:
        if self._account is None:
            try:
                self._account = self._ask_account(2)
            except (BotoCoreError, ClientError) as error:
                self._account = as_problem(error)
            except (KeyError, ResponseParserError) as error:  # any page of the web, with whatever status
                self._account = not_an_aws_answer(error)
            except Problem as problem:
                self._account = problem
        if isinstance(self._account, Problem):
            raise self._account
        return self._account

    def _ask_account(self, attempts: int) -> str:
        try:
            return str(self._make("sts", attempts).get_caller_identity()["AccountRegion"])
        except ClientError as error:
            # Whoever gets an answer is connected and signed in: then patience is worth it.
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
                    # Several resources may talk to one service at a time, each with several reads side by side.
                    max_pool_connections=32,
                ),
            )
        except BotoCoreError as error:
            raise as_problem(error) from error
        except ValueError as error:
            raise Problem(
                str(error), where=service, mend="AWS_ENDPOINT_URL has to be an address such as http://localhost:4566."
            ) from error
        client.meta.events.register(f"needs-retry.{client.meta.service_model.service_id.hyphenize()}", _when_busy)
        return client


def _when_busy(response: Any, attempts: int, operation: Any, **_: Any) -> float | None:
    """For botocore: seconds until the next try where something is busy, None where that is not the matter."""
    if response is None or attempts >= ATTEMPTS or response[1].get("Error", {}).get("Code") not in BUSY:
        return None
    if operation.name == "CreateBucket":  # can take minutes after a deletion: whoever calls tells people of it
        return None
    return random.uniform(0, min(0.25 * 2**attempts, SLOWEST))  # noqa: S311 only to part those who collided
