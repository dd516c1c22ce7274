"""SageMaker jobs, which can be neither changed nor deleted: a name is used once, and names that job for ever.

So a workflow's job is looked for under its own name and under names with a digest of its inputs. One with the same
inputs that completed is reused, one that runs is waited for. One that failed is shown with its reason and repeated,
under a next name, only when the user asks for that. Changed inputs make a new job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.resource import Action, Change, Diff, Outputs, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.json_text import from_json
from emflow.problems import Problem
from emflow.resources.aws_calls import poll, retry_until_assumable

LONGEST_NAME = 63
DIGEST_ROOM = 12
"""Characters of a job's name that are reserved for a digest of its inputs."""
RUNNING = frozenset({"STARTING", "INPROGRESS", "STOPPING"})
QUEUE = 600.0
"""Seconds that a job may take beyond its own limit: to be queued, started and written down."""

Facts = Mapping[str, object]


@dataclass(frozen=True)
class Job:
    """One job as SageMaker describes it.

    Args:
        inputs: what went into it, in the vocabulary of the resource that asks.
        outputs: what came of it; only for a completed one.
        usable: False when what came of it is no longer there.
    """

    name: str
    status: str
    inputs: Facts
    reason: str = ""
    outputs: Outputs = field(default_factory=dict)
    usable: bool = True


Describe = Callable[[str], Job | None]


def name_stem(base: str) -> str:
    """The beginning of the names of all jobs that a workflow makes under a name."""
    return base[: LONGEST_NAME - DIGEST_ROOM].rstrip("-")


def names(base: str, digest: str) -> Iterator[str]:
    """The names that a job with these inputs may have, in the order in which they are taken."""
    yield base
    stem = f"{name_stem(base)}-{digest[:8]}"
    yield stem
    for number in count(2):
        yield f"{stem}-{number}"


def is_name_of(name: str, base: str) -> bool:
    """Whether a job with some inputs could have this name: one of `names`, for any digest."""
    return name == base or re.fullmatch(rf"{re.escape(name_stem(base))}-[0-9a-f]{{8}}(-[1-9][0-9]*)?", name) is not None


def find(describe: Describe, base: str, digest: str) -> tuple[Job, ...]:
    """All jobs there are under these names. The usual ones are asked for side by side."""
    first = tuple(islice(names(base, digest), 3))
    found = list(read_parallel({name: partial(describe, name) for name in first}).values())
    if found[-1]:
        for name in islice(names(base, digest), len(first), None):
            job = describe(name)
            if job is None:
                break
            found.append(job)
    return tuple(job for job in found if job)


def compare(what: str, base: str, digest: str, jobs: Sequence[Job], inputs: Facts, *, retry_failed: bool) -> Diff:
    """Which job has these inputs, or which has to be made. Pure.

    Raises:
        Problem: it failed, and the user has not asked to repeat it.
    """
    same = [job for job in jobs if job.inputs == inputs]
    if same:
        job = same[-1]
        if job.status == "COMPLETED" and job.usable:
            return Diff(Action.NONE, outputs={"job": job.name, **job.outputs})
        if job.status in RUNNING:
            change = Change("status", job.status, "COMPLETED")
            return Diff(Action.UPDATE, (change,), {"job": job.name}, parameters={"job": job.name, "create": False})
        if job.status != "COMPLETED" and not retry_failed:
            raise failed(what, job)
    taken = {job.name for job in jobs}
    name = next(name for name in names(base, digest) if name not in taken)
    wanted = {"job": name, "create": True}
    if not jobs:
        return Diff(Action.CREATE, _changes({}, inputs), {"job": name}, parameters=wanted)
    before = jobs[-1]
    lost = ["what it made does not exist any more"] if before.inputs == inputs and not before.usable else []
    changes = (Change("job", before.name, name), *_changes(before.inputs, inputs))
    return Diff(Action.REPLACE, changes, {"job": name}, tuple(lost), wanted)


def run_job(
    what: str,
    describe: Describe,
    create: Callable[[], object],
    diff: Diff,
    inputs: Facts,
    run: RunContext,
    timeout: float,
) -> Job:
    """Make the job of a diff if need be, and wait for its end.

    Raises:
        Problem: it failed, its name is taken by another job, or it takes longer than `timeout` seconds.
    """
    name = diff.parameters["job"]
    if diff.parameters["create"]:
        try:
            retry_until_assumable(create, run)
        except (ClientError, BotoCoreError):
            # The answer to an earlier try may have been lost, so look before believing that it failed.
            job = describe(name)
            if job is None:
                raise
            if job.inputs != inputs:
                raise Problem(
                    f"the name {name} has just been taken by another job", where=what, mend="Run it again."
                ) from None
    reported = ""
    for _ in poll(run, timeout + QUEUE):
        job = describe(name)
        if job and job.status not in RUNNING:
            if job.status == "COMPLETED":
                return job
            raise failed(what, job)
        state = job.status if job else "not known yet"
        if state != reported:
            run.waiting(state)
            reported = state
    raise Problem(
        f"{name} is still {reported} after {timeout + QUEUE:.0f} s",
        where=what,
        mend="Run it again: it continues to wait.",
    )


def parsed(text: str | None) -> object:
    """JSON that the API carries as text, as a value; what is not JSON equals nothing of ours."""
    try:
        value: object = from_json(text or "null")
    except ValueError:
        return text
    return value


def failed(what: str, job: Job) -> Problem:
    return Problem(
        f"{job.name} {job.status}: {job.reason or 'no reason given'}",
        where=what,
        mend="Correct the workflow; or, if nothing in it has to change, repeat the job: emflow apply --retry-failed",
    )


def _changes(old: Facts, new: Facts) -> tuple[Change, ...]:
    return tuple(Change(key, old.get(key), value) for key, value in new.items() if old.get(key) != value)
