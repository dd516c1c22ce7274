"""The components of the device: which have to stop, which have to start, and in which order."""

from __future__ import annotations

import graphlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from emflow.workflow.redaction import remember_secret
from emflow_emulator.core import bootstrap
from emflow_emulator.core.component import READY, Component, State
from emflow_emulator.core.environment import Credentials, DeviceIdentity, environment, search_path
from emflow_emulator.core.failure import DeploymentFailure, broken, ended_with
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.logs import Log
from emflow_emulator.core.nuclei import NucleusModel
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.process import OrphanCleanup, Process, Sink
from emflow_emulator.core.recipe import Step
from emflow_emulator.core.token_exchange import TOKEN_EXCHANGE

_SETTLED = 1.0
"""Seconds for which a component has to run before a deployment counts it as started. The nucleus checks once a second,
with the same effect: a component that fails at once is not counted as started."""


def start_order(plans: Mapping[str, Plan]) -> list[str]:
    """Every component after its dependencies, HARD and SOFT.

    Raises:
        DeploymentFailure: the dependencies are circular.
    """
    graph = {name: sorted((plan.hard | plan.soft) & plans.keys()) for name, plan in sorted(plans.items())}
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = " → ".join(error.args[1])
        raise DeploymentFailure(
            f"Circular dependency detected for component: {circle}", "COMPONENT_CIRCULAR_DEPENDENCY_ERROR"
        ) from error


def with_dependents(names: Iterable[str], plans: Mapping[str, Plan]) -> set[str]:
    """These components, and those that depend on them by HARD dependencies, directly or indirectly."""
    result = set(names)
    while more := {name for name, plan in plans.items() if plan.hard & result} - result:
        result |= more
    return result


class Supervisor:
    """Starts and stops components, and is their `Host`.

    Args:
        credentials: the endpoint for AWS credentials when TokenExchangeService is deployed.
        orphan_cleanup: kills the remaining processes when this process is killed.
        on_change: called, from any thread, after a component's state changed.
    """

    def __init__(
        self,
        layout: Layout,
        device: DeviceIdentity,
        credentials: Credentials,
        orphan_cleanup: OrphanCleanup,
        on_change: Callable[[], object],
    ) -> None:
        self._layout = layout
        self._device = device
        self._credentials = credentials
        self._on_change = on_change
        self._orphan_cleanup = orphan_cleanup
        self._components: dict[str, Component] = {}
        self._tokens: dict[str, str] = {}
        self._logs: dict[str, Log] = {}
        self._changed = threading.Condition()

    @property
    def plans(self) -> dict[str, Plan]:
        """The plans of the deployed components."""
        return {name: component.plan for name, component in self._components.items()}

    @property
    def components(self) -> list[Component]:
        return list(self._components.values())

    def component(self, name: str) -> Component | None:
        return self._components.get(name)

    def owner_of(self, token: str) -> str | None:
        """The component with this token; None when it belongs to no component."""
        # As bytes: of text, only ASCII can be compared. A copy: deployments change the tokens in another thread.
        presented, tokens = token.encode(errors="surrogatepass"), dict(self._tokens)
        return next((name for name, own in tokens.items() if secrets.compare_digest(own.encode(), presented)), None)

    def apply(
        self,
        plans: Mapping[str, Plan],
        given_up: threading.Event | None = None,
        *,
        rollback: bool = False,
        starting: bool = False,
        put_artifacts: Callable[[], object] = lambda: None,
    ) -> None:
        """Run exactly these components: stop removed and changed ones, start new and changed ones.

        The HARD dependents of a changed component are restarted too. An unchanged component continues, except when it
        is BROKEN: then the deployment starts it again. With a bootstrap step, all components are stopped for it, and
        installed and started again.

        Args:
            given_up: set when the device stops: then no further bootstrap step is run.
            rollback: a deployment failed, and these are the components from before it.
            starting: the device starts, with the components that it had: their bootstrap steps have been run.
            put_artifacts: called when all components are stopped whose artifacts change, and before they start again.

        Raises:
            BootstrapFailure: a bootstrap step failed; no component is running then.
            OSError: the artifacts cannot be put in place; the components that change are not running then.
        """
        given_up = given_up or threading.Event()
        order = start_order(plans)
        old = self._components
        due = bootstrap.needed(self.plans, (plans[name] for name in order), rollback=rollback)
        bootstraps = [] if starting else due
        changed = {
            name
            for name, plan in plans.items()
            if name in old and (old[name].plan != plan or old[name].state == State.BROKEN)
        }
        again = with_dependents(changed | (plans.keys() - old.keys()), plans)
        stopped = {name for name, component in old.items() if component.stopped}
        again |= stopped & plans.keys()
        # After a bootstrap step, or one that failed, the nucleus has restarted: everything is installed again.
        restarted = bool(bootstraps) or (bool(old) and stopped == old.keys())
        if restarted:
            again = set(plans)
        for name in reversed(start_order(self.plans)):
            if name in again or name not in plans:
                old[name].stop()
            if name not in plans:
                old[name].uninstall()
        put_artifacts()
        for name in plans:
            remember_secret("token", self._tokens.setdefault(name, secrets.token_urlsafe(24)))
        for plan in bootstraps:
            bootstrap.run(plan, self, given_up)
            if given_up.is_set():
                return
        self._replace(plans, again, restarted=restarted)
        for name in order:
            if name in again:
                self._components[name].start()

    def _replace(self, plans: Mapping[str, Plan], again: Collection[str], *, restarted: bool) -> None:
        """Make the components of `again` anew, and keep the others.

        Args:
            restarted: the nucleus was restarted, so every component has to be installed again.
        """
        old = self._components
        kept = {name: old[name] for name in plans if name not in again}
        for name, component in kept.items():
            component.plan = plans[name]  # unchanged, but it may now be a dependency instead of a root, or the reverse
        for name in again:
            before = old.get(name)
            installed = before is not None and before.installed and plans[name].installs_like(before.plan)
            kept[name] = Component(plans[name], self, installed=installed and not restarted)
        self._tokens = {name: token for name, token in self._tokens.items() if name in plans}
        self._components = kept
        self._on_change()

    @property
    def nucleus(self) -> NucleusModel:
        return self._device.nucleus

    def wait_until_settled(self, given_up: threading.Event) -> bool:
        """Wait until every component runs or has finished; False when `given_up` is set.

        Raises:
            DeploymentFailure: a component is BROKEN, was stopped for good with its dependency, or took longer than the
                nucleus waits.
        """
        limit = self.nucleus.deployment_seconds
        deadline = None if limit is None else time.monotonic() + limit
        while not given_up.is_set():
            for component in self.components:
                if component.state == State.BROKEN:
                    raise broken(component.plan.name, component.output)
                if component.ended_with:
                    raise ended_with(component.plan.name, component.ended_with)
            waits = [_unsettled_for(component) for component in self.components]
            if not any(waits):
                return True
            if deadline is not None and time.monotonic() > deadline:
                waiting = ", ".join(
                    f"{component.plan.name} is {component.state}"
                    for component in self.components
                    if _unsettled_for(component)
                )
                raise DeploymentFailure(
                    f"The deployment did not end within {limit:g} s: {waiting}. On the {self.nucleus.name} nucleus, a "
                    "component that only installs, and what has a HARD dependency on it, never gets further; "
                    "`run: exit 0` makes it finish"
                )
            with self._changed:
                self._changed.wait(min(each for each in waits if each))
        return False

    def stop(self) -> None:
        """Stop all components, dependents before their dependencies."""
        for name in reversed(start_order(self.plans)):
            self._components[name].stop()

    # The following methods are the components' `Host`.

    def launch(self, plan: Plan, step: Step, sink: Sink, on_exit: Callable[[], object]) -> Process:
        work = self._layout.work(plan.name)
        work.mkdir(parents=True, exist_ok=True)
        having_it = self._components if self.nucleus.builtins else plan.hard | plan.soft
        credentials = self._credentials if TOKEN_EXCHANGE in having_it else None
        # As the nucleus does, for the one step that is run when the component is no longer deployed.
        version = {"GREENGRASS_COMPONENT_VERSION": plan.version} if step.name == "uninstall" else {}
        env = environment(
            os.environ, self._device, self._tokens[plan.name], credentials, version, plan.setenv, step.setenv
        )
        return Process(step.script, env=env, cwd=work, sink=sink, orphan_cleanup=self._orphan_cleanup, on_exit=on_exit)

    def ready(self, name: str) -> bool:
        component = self._components.get(name)
        return component is None or component.state in self._ready_states

    @property
    def _ready_states(self) -> Collection[State]:
        """The states of a HARD dependency in which its dependents may run: those in which systemd has it as active."""
        return (State.RUNNING,) if self.nucleus.binds else READY

    def finds(self, program: str) -> bool:
        return shutil.which(program, path=search_path(os.environ, self._device.python)) is not None

    def log(self, plan: Plan, level: str, thread: str, text: str, **context: Any) -> None:
        log = self._logs.setdefault(plan.name, Log(self._layout.log(plan.name)))
        log.write(level, thread, plan.name, text, **context)

    def changed(self, component: Component) -> None:
        gone = component.state not in self._ready_states
        for other in self.components:
            if component.plan.name in other.plan.hard:
                if gone and self.nucleus.binds:
                    other.stop_with_dependency(component.plan.name)
                elif gone:
                    other.restart()
                other.recheck()
        with self._changed:
            self._changed.notify_all()
        self._on_change()


def _unsettled_for(component: Component) -> float:
    """Seconds until the component has to be checked again; 0 when it has settled."""
    if component.state == State.FINISHED:
        return 0.0
    if component.state != State.RUNNING:
        return _SETTLED
    return max(0.0, component.since + _SETTLED - time.monotonic())
