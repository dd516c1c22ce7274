"""What can befall a call to AWS, between our clients and the wire: the process dies, the answer is lost, AWS throttles.

Everything else of the call is real: it is signed, sent and executed by botocore against the embedded AWS.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

READS = ("Get", "List", "Describe", "Head")

Point = tuple[str, int]
"""A changing call of an apply: its operation, such as `s3:PutBucketPolicy`, and which of those it is, from 1."""


class Killed(BaseException):
    """The process died here; no `except Exception` notices."""


class Faults:
    """For `before-send` of a session: sees every request before it is sent. `done`: the changing calls, in order.

    Args:
        kill_at: the process dies at this call: nothing is sent from then on.
        executed: AWS had executed the call when the process died; else it never got it.
        calls: the process dies before the changing call that comes after so many.
        lose: the answer to the first try of this call never arrives.
        lose_all: the answer to the first try of every changing call never arrives.
        throttle: the part of all requests, reads and retries too, that AWS answers with "slow down".
        before: is called with each changing call, before anything else happens.
    """

    def __init__(
        self,
        *,
        kill_at: Point | None = None,
        executed: bool = True,
        calls: int | None = None,
        lose: Point | None = None,
        lose_all: bool = False,
        throttle: float = 0.0,
        before: Callable[[Point], object] = lambda point: None,
    ) -> None:
        self.done: list[Point] = []
        self.dead = False
        self.struck = False
        self.throttled = 0
        self._kill_at, self._executed = kill_at, executed
        self._calls = calls
        self._lose, self._lose_all = lose, lose_all
        self._throttle = throttle
        self._before = before
        self._dice = random.Random(4)
        self._seen: Counter[str] = Counter()
        self._tried: set[str] = set()
        self._lock = threading.Lock()
        self._wire = URLLib3Session()

    def __call__(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        """Pass a request on (None), or answer it, or raise."""
        service, operation = event_name.split(".")[1:]
        if self.dead:
            raise Killed
        if self._throttle and self._thrown():
            return slow_down(request, service)
        if operation.startswith(READS):
            return None
        # botocore names each call, the same for all its tries.
        invocation = request.headers["amz-sdk-invocation-id"].decode()
        with self._lock:
            if invocation in self._tried:
                return None
            self._tried.add(invocation)
            name = f"{service}:{operation}"
            self._seen[name] += 1
            point = (name, self._seen[name])
            if len(self.done) == self._calls:
                self.dead = True
                raise Killed
            self.done.append(point)
        self._before(point)
        if point == self._kill_at:
            self.struck = True
            if self._executed:
                self._wire.send(request)
            self.dead = True
            raise Killed
        if self._lose_all or point == self._lose:
            self.struck = True
            self._wire.send(request)
            raise ConnectionClosedError(endpoint_url=request.url)
        return None

    def _thrown(self) -> bool:
        with self._lock:
            hit = self._dice.random() < self._throttle
            self.throttled += hit
        return hit


def slow_down(request: Any, service: str) -> AWSResponse:
    """How a service asks to slow down, in its own protocol."""
    status, headers = 400, {"Content-Type": "application/x-amz-json-1.1"}
    match service:
        case "s3":
            status, body = 503, "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
        case "iam" | "sts":
            error = "<Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message>"
            body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
        case "iot" | "greengrassv2":
            status, body = 429, '{"message": "Rate exceeded"}'
            headers["x-amzn-errortype"] = "ThrottlingException"
        case _:
            body = '{"__type": "ThrottlingException", "message": "Rate exceeded"}'
    if request.method == "HEAD":
        body = ""
    return AWSResponse(request.url, status, HTTPHeaders.from_dict(headers), _Body(body.encode()))


class _Body:
    """As much of urllib3's response as botocore reads."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **_: Any) -> Any:
        yield self._data
