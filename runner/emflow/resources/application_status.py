"""What the application on a device says about itself: its cameras, its agent, and when results last came.

Greengrass knows only that a process runs. The component itself keeps a retained message on `edge.publish.status_topic`
(`device-status.schema.json`), which AWS IoT's data endpoint gives out without a connection to the broker:
https://docs.aws.amazon.com/iot/latest/apireference/API_iotdata_GetRetainedMessage.html. The lite nucleus does not pass
`retain` on, so there is no such message from its devices.

A device's clock may be wrong. So how long something has lasted is taken from the seconds that the device counted itself
and from the time at which AWS got the message; the device's times are only shown, moved by the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import AWS_ERRORS, as_problem, is_missing
from emflow.json_text import from_json
from emflow.problems import printable
from emflow.workflow.model import Stream, Workflow
from emflow_schema.topics import fill

LITE = "aws_nucleus_lite"
"""The lite nucleus, as Greengrass names it in a core device's `runtime`."""

RUNNING, OFFLINE, UNKNOWN = "running", "offline", "unknown"
STATES = ("starting", RUNNING, "degraded", OFFLINE)
"""What a run can be, in the words of the component."""

INTERVALS = 5
"""So many intervals without a result, or periods without a status, are too many."""

FRAMES_A_SECOND = 1.0
"""What is expected of a camera at least, where a stream takes every so many frames, or as many as it can."""

CLOCK_STEP = 10
"""Seconds that a device's clock may be wrong before its times are moved."""

MOST_STREAMS = 64
LONGEST_TEXT = 300
"""Limits for a message that every client that may publish to the topic can have written."""


@dataclass(frozen=True)
class StreamStatus:
    """A stream. `status` is the component's word; the times are by AWS's clock."""

    name: str
    status: str
    reason: str = ""
    since: datetime | None = None
    last_result: datetime | None = None


@dataclass(frozen=True)
class AgentStatus:
    """The agent, as the component sees it."""

    status: str
    reason: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class ApplicationStatus:
    """The application on one device.

    status: the component's word, or `unknown`; reason: why it is offline, or why nothing is known.
    reported: when AWS got the message. warnings: what makes the device not well although Greengrass finds it healthy.
    """

    status: str
    reason: str = ""
    reported: datetime | None = None
    since: datetime | None = None
    agent: AgentStatus | None = None
    streams: tuple[StreamStatus, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def last_result(self) -> datetime | None:
        return max((stream.last_result for stream in self.streams if stream.last_result), default=None)


def read_application(workflow: Workflow, clients: Clients, thing: str, runtime: str) -> ApplicationStatus:
    """Read the retained status of a device's application.

    Args:
        runtime: of the core device, as Greengrass names it; may be empty.
    """
    template = workflow.edge.publish.status_topic
    if not template:
        return _unknown("the workflow has no edge.publish.status_topic, so the component publishes none")
    topic = fill(template, {"thing": thing, "model": workflow.cloud.model.name})
    try:
        found = clients("iot-data").get_retained_message(topic=topic)
    except AWS_ERRORS as error:
        if isinstance(error, ClientError) and is_missing(error):
            return _unknown(_why_missing(topic, runtime))
        problem = as_problem(error)
        return _unknown(f"{problem.what.rstrip('.')}. {problem.mend}".strip())
    reported = datetime.fromtimestamp(found.get("lastModifiedTime", 0) / 1000, UTC)
    return parse(bytes(found.get("payload") or b""), reported, datetime.now(UTC), topic, thing, workflow)


def _unknown(reason: str) -> ApplicationStatus:
    return ApplicationStatus(UNKNOWN, printable(reason))


def _why_missing(topic: str, runtime: str) -> str:
    if runtime == LITE:
        return "the lite nucleus does not pass on that a message is to be retained"
    lite = "" if runtime else ", or its nucleus is a lite one"
    return f"nothing is retained on {topic}: the component has not published yet, or may not (iot:RetainPublish){lite}"


def parse(
    payload: bytes, reported: datetime, now: datetime, topic: str, thing: str, workflow: Workflow
) -> ApplicationStatus:
    """The status in a message.

    Args:
        payload: not trusted; other clients may publish to the topic too.
        reported: when AWS got the message.
        topic: where it was, for messages.
    """
    try:
        message = from_json(payload, any_number=True)  # an older component may have written NaN
    except ValueError:
        message = None
    if (
        not isinstance(message, dict)
        or message.get("status") not in STATES
        or not isinstance(message.get("streams"), dict)
    ):
        return _unknown(f"the message retained on {topic} is not a status of the component")
    if message.get("thing") != thing:
        other = _text(message.get("thing"))
        return _unknown(f"the message retained on {topic} is of {other}; with {{thing}} in it each device has its own")
    written = _time(message.get("time"))
    # In steps, so that the times of one state are the same in each message, however long that was on its way.
    seconds = (reported - written).total_seconds() if written else 0.0
    late = timedelta(seconds=CLOCK_STEP * int(seconds / CLOCK_STEP))
    agent = message.get("agent")
    return ApplicationStatus(
        status=message["status"],
        reason=_text(message.get("reason")),
        reported=reported,
        since=_moved(message.get("since"), late),
        agent=AgentStatus(_text(agent.get("status")), _text(agent.get("reason")), _moved(agent.get("since"), late))
        if isinstance(agent, dict)
        else None,
        streams=tuple(_stream(name, one, late) for name, one in _looked_at(message["streams"], workflow)),
        warnings=tuple(_warnings(message, max(0.0, (now - reported).total_seconds()), workflow)),
    )


def _looked_at(streams: Mapping[str, Any], workflow: Workflow) -> list[tuple[str, Mapping[str, Any]]]:
    """The streams of a message, those of the workflow first; of very many, the first."""
    known = {stream.name for stream in workflow.edge.streams}
    names = sorted(streams, key=lambda name: name not in known)[:MOST_STREAMS]
    return [(name, streams[name]) for name in names if isinstance(streams[name], dict)]


def _stream(name: str, message: Mapping[str, Any], late: timedelta) -> StreamStatus:
    return StreamStatus(
        name=_text(name),
        status=_text(message.get("status")),
        reason=_text(message.get("reason")),
        since=_moved(message.get("since"), late),
        last_result=_moved(message.get("last_result"), late),
    )


def _warnings(message: Mapping[str, Any], age: float, workflow: Workflow) -> Iterator[str]:
    """What is wrong in a message that is so many seconds old."""
    streams = {stream.name: stream for stream in workflow.edge.streams}
    limits = {name: INTERVALS * interval(stream) for name, stream in streams.items()}
    if message["status"] == OFFLINE:
        if age > min(limits.values(), default=0.0):
            yield f"the application is offline, so no results come: {_text(message.get('reason')) or 'no reason given'}"
        return
    period = workflow.edge.metrics.every.seconds
    if age > INTERVALS * period:
        yield f"the application has not reported for {span(age)}; it reports every {workflow.edge.metrics.every}"
    if refused := _text(message.get("configuration_refused")):
        yield f"a newer configuration is refused, the one before runs: {refused}"
    if len(message["streams"]) > MOST_STREAMS:
        yield f"the status has {len(message['streams'])} streams, of which only {MOST_STREAMS} were looked at"
    for name, one in _looked_at(message["streams"], workflow):
        seconds = one.get("seconds_without_result")
        without = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else 0.0
        # A stream that comes back says so at once. Of one that gives results, the next one is known later.
        without += 0.0 if one.get("status") == RUNNING else age
        if without > limits.get(name, max(limits.values(), default=0.0)):
            every = streams[name].every if name in streams else "a stream's"
            yield f"{_text(name)} has had no result for {span(without)}: over {INTERVALS} intervals ({every})"


def interval(stream: Stream) -> float:
    """Seconds between two results of a stream, at most."""
    if stream.every.frames:
        return stream.every.frames / FRAMES_A_SECOND
    return stream.every.seconds or 1 / FRAMES_A_SECOND


def span(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 days`."""
    for unit, length, over in (("days", 86400, 172800), ("h", 3600, 7200), ("min", 60, 120)):
        if seconds >= over:
            return f"{int(seconds // length)} {unit}"
    return f"{round(seconds)} s"


def _text(value: object) -> str:
    return printable(value[:LONGEST_TEXT]) if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.astimezone(UTC) if time and time.tzinfo else None
    except (ValueError, OverflowError):  # Overflow: in UTC, it is before the year 1 or after the year 9999
        return None


def _moved(value: object, late: timedelta) -> datetime | None:
    time = _time(value)
    try:
        return time + late if time else None
    except OverflowError:
        return None
