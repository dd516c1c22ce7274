"""The bootstrap steps of a deployment: while all components are stopped, and before any of them is installed.

A step asks by its exit code for a restart of the nucleus (100) or a reboot of the device (101); both are successes, and
so is 0. After the last of these steps the nucleus restarts in any case, and with it every component: `install` is run
again. A reboot does no more here, because this device has no operating system of its own.
https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html#bootstrap-lifecycle-definition
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from emflow_emulator.core.failure import BootstrapFailure
from emflow_emulator.core.output_tail import OutputTail
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.process import Process, Sink
from emflow_emulator.core.recipe import TIMEOUTS, Step
from emflow_emulator.core.skipping import BadSkipIf, is_skipped

STEP = "bootstrap"
_MEANINGS = {
    0: "No restart requested",
    100: "Nucleus restart requested to complete bootstrap task",
    101: "device reboot requested to complete bootstrap task",
}
_LOOK = 0.2
"""Seconds between two checks whether the device stops."""


class Host(Protocol):
    """The functions of the device that a bootstrap step needs."""

    def launch(self, plan: Plan, step: Step, sink: Sink, on_exit: Callable[[], object]) -> Process: ...

    def finds(self, program: str) -> bool: ...

    def log(self, plan: Plan, level: str, thread: str, text: str, **context: Any) -> None: ...


def needed(before: Mapping[str, Plan], after: Iterable[Plan], *, rollback: bool) -> list[Plan]:
    """Those with a bootstrap step that are new, or have another version or another step than before.

    Args:
        rollback: the device returns to `after` because a deployment failed: only steps with BootstrapOnRollback.
    """

    def is_due(plan: Plan) -> bool:
        step, old = plan.steps.get(STEP), before.get(plan.name)
        if step is None or (rollback and not step.on_rollback):
            return False
        return old is None or old.version != plan.version or old.steps.get(STEP) != step

    return [plan for plan in after if is_due(plan)]


def run(plan: Plan, host: Host, given_up: threading.Event) -> None:
    """Run one step, unless its condition says that it is to be skipped; returns early when the device stops.

    Raises:
        BootstrapFailure: it cannot be started, takes too long, or has another exit code than 0, 100 and 101; or its
            condition is none.
    """
    step, tail = plan.steps[STEP], OutputTail()
    try:
        if is_skipped(step, host.finds):
            return
    except BadSkipIf as error:
        raise BootstrapFailure(plan.name, str(error)) from error
    ended = threading.Event()

    def sink(stream: str, text: str) -> None:
        tail.add(text)
        host.log(plan, "INFO" if stream == "stdout" else "WARN", "Copier", f"{stream}. {text}", scriptName=step.key)

    host.log(plan, "INFO", STEP, "shell-runner-start", scriptName=step.key, command=step.script)
    try:
        process = host.launch(plan, step, sink, ended.set)
    except (OSError, ValueError) as error:
        raise BootstrapFailure(plan.name, f"cannot be started: {error}", tail.lines) from error
    try:
        limit = patience = TIMEOUTS[STEP] if step.timeout is None else step.timeout
        while not ended.wait(min(_LOOK, patience)) and patience > 0 and not given_up.is_set():
            patience -= _LOOK
        code = process.code
    finally:
        process.end()
    if given_up.is_set():
        return
    if code is None:
        raise BootstrapFailure(plan.name, f"timed out after '{limit:g}' seconds", tail.lines, timeout=True)
    host.log(plan, "INFO", STEP, "Bootstrap script exited", exitCode=code, meaning=_MEANINGS.get(code, "failed"))
    if code not in _MEANINGS:
        raise BootstrapFailure(plan.name, f"exit code: {code}", tail.lines)
