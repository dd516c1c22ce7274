"""Carries out a deployment: prepares it without touching running components, then activates it and reports the result.

The preparation resolves, downloads, verifies, unpacks, configures, plans, fetches secrets, and asks the components to
validate their configuration. If it fails, nothing on the device changes. The activation stops and starts components. If
it fails, the device returns to the previous components, unless the deployment says DO_NOTHING.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from emflow_emulator.core import artifacts, bootstrap, plan
from emflow_emulator.core.artifacts import Download
from emflow_emulator.core.cloud_client import DeploymentDocument
from emflow_emulator.core.component import State
from emflow_emulator.core.configuration import Configuration, ConfigurationStore, Update, changes
from emflow_emulator.core.failure import BootstrapFailure, DeploymentFailure, failure_of
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.recipe import Recipe
from emflow_emulator.core.resolve import Catalogue, resolve
from emflow_emulator.core.secrets import SECRET_MANAGER, FetchedSecrets, Secrets
from emflow_emulator.core.status import Progress
from emflow_emulator.core.supervisor import Supervisor, start_order

_NOT_ROLLED_BACK = "FAILED_ROLLBACK_NOT_REQUESTED"


@dataclass(frozen=True)
class Prepared:
    """The data that the activation needs."""

    plans: Mapping[str, Plan]
    configurations: Mapping[str, Configuration]
    recipes: Mapping[str, Recipe]
    held: FetchedSecrets


class Validate(Protocol):
    def __call__(
        self, deployment: str, proposed: Mapping[str, Mapping[str, Any]], timeout: float, given_up: threading.Event
    ) -> Mapping[str, str]:
        """Ask components to validate configurations; returns the reason of each component that rejects its own."""


class UpdatePolicy(Protocol):
    """Asks components whether a deployment may update them now."""

    def wait_until_safe(
        self, deployment: str, timeout: float, given_up: threading.Event, *, restarting: bool = False
    ) -> None: ...

    def updated(self, deployment: str) -> None:
        """The deployment has succeeded or failed."""


class Deployer:
    """Carries out deployments on one device, one after another.

    Args:
        validate: asks the running components to validate their new configuration.
        policy: asks them whether they may be updated now.
        on_progress: called with the progress of a deployment.
    """

    def __init__(
        self,
        *,
        thing: str,
        layout: Layout,
        platform: Mapping[str, str],
        catalogue: Catalogue,
        download: Download,
        store: ConfigurationStore,
        supervisor: Supervisor,
        secrets: Secrets,
        validate: Validate,
        policy: UpdatePolicy,
        log: DeviceLog,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._thing = thing
        self._layout = layout
        self._platform = platform
        self._catalogue = catalogue
        self._download = download
        self._store = store
        self._supervisor = supervisor
        self._secrets = secrets
        self._validate = validate
        self._policy = policy
        self._log = log
        self._on_progress = on_progress
        self._roots: dict[str, Mapping[str, str]] = {}
        self._sources: dict[str, str] = {}

    @property
    def sources(self) -> Mapping[str, str]:
        """For each component, the id of the deployment that last installed or changed it."""
        return dict(self._sources)

    def deploy(self, deployment: DeploymentDocument, given_up: threading.Event) -> None:
        """Carry out a deployment; a failure is reported and not raised.

        Args:
            given_up: set when the device stops; then nothing more is reported.
        """
        self._on_progress(Progress(deployment.id, "IN_PROGRESS"))
        self._say("Received deployment in the queue", DeploymentId=deployment.id)
        before = Prepared(self._supervisor.plans, self._store.all(), {}, self._secrets.held)
        broken = {each.plan.name for each in self._supervisor.components if each.state == State.BROKEN}
        # Every error fails only this deployment: the device has to continue for the next one.
        try:
            prepared = self._prepare(deployment)
            if deployment.notify:
                restarting = bool(bootstrap.needed(before.plans, prepared.plans.values(), rollback=False))
                timeout = deployment.update_timeout
                self._policy.wait_until_safe(deployment.id, timeout, given_up, restarting=restarting)
            self._ask_components(deployment, before, prepared, given_up)
            if given_up.is_set():
                return
            self._put(prepared)
        except Exception as error:
            self._failed(deployment, failure_of(error), "FAILED_NO_STATE_CHANGE")
            return
        try:
            if not self._activate(prepared, given_up):
                return
        except Exception as error:
            failure = failure_of(error)
            details = self._roll_back(deployment, failure, before, given_up)
            if details == _NOT_ROLLED_BACK:
                self._note_sources(deployment, before, prepared, broken)
            self._failed(deployment, failure, details)
            return
        self._note_sources(deployment, before, prepared, broken)
        self._roots[deployment.requirement_source] = _pins(deployment)
        self._clean(prepared)
        self._finished(deployment, Progress(deployment.id, "SUCCEEDED"), "SUCCESSFUL")

    def _prepare(self, deployment: DeploymentDocument) -> Prepared:
        roots: dict[str, dict[str, str]] = {}
        for source, pins in (self._roots | {deployment.requirement_source: _pins(deployment)}).items():
            for name, version in pins.items():
                roots.setdefault(name, {})[source] = version
        active = {name: running.version for name, running in self._supervisor.plans.items()}
        recipes = resolve(roots, active, self._platform, self._catalogue)
        for recipe in recipes.values():
            artifacts.fetch(recipe, self._layout, self._download)
        configurations = {
            name: (self._store.get(name) or Configuration()).deployed(
                recipe.defaults, deployment.components[name].update if name in deployment.components else Update()
            )
            for name, recipe in recipes.items()
        }
        plans = plan.plans(recipes, configurations, roots, self._layout, self._thing)
        start_order(plans)
        manager = configurations.get(SECRET_MANAGER, Configuration())
        return Prepared(plans, configurations, recipes, self._secrets.fetch(manager.values))

    def _ask_components(
        self, deployment: DeploymentDocument, before: Prepared, prepared: Prepared, given_up: threading.Event
    ) -> None:
        """Ask components whose version stays to validate their new configuration; others are restarted in any case.

        A part of the device itself is not a component that is asked.

        Raises:
            DeploymentFailure: a component rejects it.
        """
        proposed = {
            name: configuration.values
            for name, configuration in prepared.configurations.items()
            if name in before.plans
            and not prepared.plans[name].builtin
            and name in before.configurations
            and before.plans[name].version == prepared.plans[name].version
            and any(changes(before.configurations[name].values, configuration.values))
        }
        wrong = self._validate(deployment.id, proposed, deployment.validation_timeout, given_up)
        if wrong and not given_up.is_set():
            reasons = "".join(f" {{ name = {name}, message = {message} }}" for name, message in wrong.items())
            raise DeploymentFailure(
                f"Components reported that their to-be-deployed configuration is invalid{reasons}",
                "COMPONENT_CONFIGURATION_NOT_VALID",
            )

    def _put(self, prepared: Prepared) -> None:
        """Secrets first: a component that is notified of its new configuration may request them at once."""
        self._secrets.hold(prepared.held)
        self._store.replace(prepared.configurations)

    def _activate(self, prepared: Prepared, given_up: threading.Event, *, rollback: bool = False) -> bool:
        self._say("Applying deployment changes, deployment cannot be cancelled now")
        self._supervisor.apply(prepared.plans, given_up, rollback=rollback)
        return self._supervisor.wait_until_settled(given_up)

    def _roll_back(
        self, deployment: DeploymentDocument, failure: DeploymentFailure, before: Prepared, given_up: threading.Event
    ) -> str:
        """Returns the result in the nucleus's words."""
        if not deployment.rollback and not isinstance(failure, BootstrapFailure):
            self._roots[deployment.requirement_source] = _pins(deployment)
            return _NOT_ROLLED_BACK
        self._say("Rolling back to the previous deployment", level="WARN", DeploymentId=deployment.id)
        try:
            self._put(before)
            self._activate(before, given_up, rollback=True)
        except Exception as error:
            self._say("Rolling back failed", level="ERROR", DeploymentId=deployment.id, reason=failure_of(error))
            return "FAILED_UNABLE_TO_ROLLBACK"
        return "FAILED_ROLLBACK_COMPLETE"

    def _note_sources(
        self, deployment: DeploymentDocument, before: Prepared, prepared: Prepared, broken: Collection[str]
    ) -> None:
        """Note which components the deployment installed or changed; one that was BROKEN was installed again."""

        def is_changed(name: str) -> bool:
            old, new = before.configurations.get(name), prepared.configurations[name]
            same = old is not None and not any(changes(old.values, new.values))
            return name in broken or not same or before.plans.get(name) != prepared.plans[name]

        self._sources = {
            name: deployment.id if is_changed(name) else self._sources.get(name, deployment.id)
            for name in prepared.plans
        }

    def _clean(self, prepared: Prepared) -> None:
        try:
            gone = artifacts.remove_all_but(prepared.recipes.values(), self._layout)
        except OSError as error:
            self._say("Unused artifacts could not be removed", level="WARN", error=error)
            return
        for removed in gone:
            for event in ("delete-component-start", "delete-component-finish"):
                self._log.say("componentmanager.ComponentStore", event, componentIdentifier=removed)

    def _failed(self, deployment: DeploymentDocument, failure: DeploymentFailure, details: str) -> None:
        self._say(
            "Error occurred while processing deployment", level="ERROR", deploymentId=deployment.id, reason=failure
        )
        progress = Progress(
            deployment.id, "FAILED", f"{details}: {failure}", tuple(failure.stack), tuple(failure.types)
        )
        self._finished(deployment, progress, details)

    def _finished(self, deployment: DeploymentDocument, progress: Progress, details: str) -> None:
        self._say("Current deployment finished", DeploymentId=deployment.id)
        self._log.say(
            "deployment.IotJobsHelper",
            "Updating status of persisted deployment",
            Status=progress.status,
            StatusDetails=f"{{detailed-deployment-status={details}}}",
            ThingName=self._thing,
            JobId=deployment.id,
        )
        self._on_progress(progress)
        self._policy.updated(deployment.id)

    def _say(self, text: str, *, level: str = "INFO", **context: Any) -> None:
        self._log.say(
            "deployment.DeploymentService",
            text,
            level=level,
            **context,
            serviceName="DeploymentService",
            currentState="RUNNING",
        )


def _pins(deployment: DeploymentDocument) -> dict[str, str]:
    return {name: f"=={wish.version}" for name, wish in deployment.components.items()}
