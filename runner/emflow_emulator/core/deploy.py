"""Carries out a deployment: prepares it without touching running components, then activates it and reports the result.

The preparation resolves, downloads, verifies, unpacks, configures, plans, fetches secrets, and asks the components to
validate their configuration. If it fails, nothing on the device changes. The activation stops and starts components. If
it fails, the device returns to the previous components, unless the deployment says DO_NOTHING.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from emflow.json_text import from_json, to_json
from emflow.recipes.lint.dependencies import OF_LITE
from emflow.recipes.lint.lite import count_objects
from emflow_emulator.core import artifacts, bootstrap, deployed, plan
from emflow_emulator.core.artifacts import Download, Staged
from emflow_emulator.core.cloud_client import DeploymentDocument
from emflow_emulator.core.component import State
from emflow_emulator.core.configuration import Configuration, ConfigurationStore, Update, changes
from emflow_emulator.core.failure import BootstrapFailure, DeploymentFailure, failure_of
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.recipe import Recipe, parse
from emflow_emulator.core.resolve import Catalogue, resolve
from emflow_emulator.core.secrets import SECRET_MANAGER, FetchedSecrets, Secrets
from emflow_emulator.core.status import Progress
from emflow_emulator.core.supervisor import Supervisor, start_order

_NOT_ROLLED_BACK = "FAILED_ROLLBACK_NOT_REQUESTED"
_CREATED_UNTIL = 0.001
"""Seconds by which a deployment may have been created after its time, which the cloud cuts off at milliseconds."""


@dataclass(frozen=True)
class Components:
    """What the device runs, or is to run."""

    plans: Mapping[str, Plan]
    configurations: Mapping[str, Configuration]
    held: FetchedSecrets


@dataclass(frozen=True)
class Prepared:
    """The data that the activation needs, apart from configurations and plans: until then, components may change those.

    Args:
        roots: the components that deployments name.
        staged: artifacts that are not in place yet.
    """

    recipes: Mapping[str, Recipe]
    roots: Collection[str]
    staged: Sequence[Staged]
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
        nucleus: NucleusModel = CLASSIC,
    ) -> None:
        self._thing = thing
        self._nucleus = nucleus
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
        """Of each target, such as `thing/NAME`: the components that its last deployment names, with their versions.

        They are stored: a device that starts again carries out the deployments of its targets one after the other, and
        the first of them must not remove what the others have configured.
        """
        if layout.roots.exists():
            self._roots = from_json(layout.roots.read_text())
        self._deployed = deployed.load(layout.deployed, thing)
        self._sources: dict[str, str] = {}

    @property
    def sources(self) -> Mapping[str, str]:
        """For each component, the id of the deployment that last installed or changed it."""
        return dict(self._sources)

    @property
    def finished(self) -> Collection[str]:
        """The ids of deployments that are over, also those from before the device was started."""
        return self._deployed.finished

    def resume(self, stopping: threading.Event) -> None:
        """Run what the device ran before it was stopped, as it is on disk.

        If that is not possible, the deployments of the targets count as not carried out yet.
        """
        before = self._deployed
        if not before.recipes:
            return
        try:
            recipes = {name: parse(text, self._platform, self._nucleus) for name, text in before.recipes.items()}
            artifacts.finish(self._layout)
            staged = [artifacts.stage(recipe, self._layout, self._download) for recipe in recipes.values()]
            current = self._store.all()
            configurations = {name: current[name] for name in recipes}
            plans = plan.plans(recipes, configurations, before.roots, self._layout, self._thing, self._nucleus)
            start_order(plans)
            self._secrets.hold(self._secrets.fetch(configurations.get(SECRET_MANAGER, Configuration()).values))
            self._say("Starting the components from before the restart", components=", ".join(sorted(plans)))
            self._sources = dict(before.sources)
            put = self._putting(each for each in staged if each)
            self._supervisor.apply(plans, stopping, starting=True, put_artifacts=put)
            artifacts.finish(self._layout)
        except Exception as error:  # the deployments of the targets bring everything back
            self._say(
                "The components from before the restart cannot be started", level="WARN", reason=failure_of(error)
            )
            self._deployed = dataclasses.replace(before, finished=())

    def keep_targets(self, targets: Collection[str]) -> None:
        """Forget what the deployments of other targets name: the thing has left those groups."""
        self._roots = {target: pins for target, pins in self._roots.items() if target in targets}

    def deploy(
        self, deployment: DeploymentDocument, stopping: threading.Event, given_up: threading.Event | None = None
    ) -> None:
        """Carry out a deployment; a failure is reported and not raised.

        Args:
            stopping: set when the device stops; then nothing more is reported.
            given_up: set when the device stops, or when the cloud does not want the deployment any more. It counts
                until the activation begins.
        """
        given_up = given_up or stopping
        self._on_progress(Progress(deployment.id, "IN_PROGRESS"))
        self._say("Received deployment in the queue", DeploymentId=deployment.id)
        broken = {each.plan.name for each in self._supervisor.components if each.state == State.BROKEN}
        # Every error fails only this deployment: the device has to continue for the next one.
        try:
            prepared = self._prepare(deployment)
            if not self._permitted(deployment, prepared, given_up):
                if not stopping.is_set():
                    self._cancelled(deployment)
                return
            before, after = self._put(deployment, prepared)
        except Exception as error:
            self._failed(deployment, failure_of(error), "FAILED_NO_STATE_CHANGE")
            return
        try:
            if not self._activate(after, prepared.staged, stopping):
                return
        except Exception as error:
            failure = failure_of(error)
            details = self._roll_back(deployment, failure, before, prepared.staged, stopping)
            if details == _NOT_ROLLED_BACK:
                self._note_sources(deployment, before, after, broken)
                self._note_deployed(prepared)
            self._failed(deployment, failure, details)
            return
        self._note_sources(deployment, before, after, broken)
        self._remember_roots(deployment)
        self._note_deployed(prepared)
        self._clean(prepared)
        self._finished(deployment, Progress(deployment.id, "SUCCEEDED"), "SUCCESSFUL")

    def _prepare(self, deployment: DeploymentDocument) -> Prepared:
        roots: dict[str, dict[str, str]] = {}
        for source, pins in (self._roots | {deployment.requirement_source: _pins(deployment)}).items():
            for name, version in pins.items():
                roots.setdefault(name, {})[source] = version
        active = {name: running.version for name, running in self._supervisor.plans.items()}
        self._check_size(deployment)
        met = () if self._nucleus.builtins else OF_LITE
        recipes = resolve(roots, active, self._platform, self._catalogue, self._nucleus, met)
        artifacts.finish(self._layout)
        staged = [artifacts.stage(recipe, self._layout, self._download) for recipe in recipes.values()]
        prepared = Prepared(recipes, roots, [each for each in staged if each], self._secrets.held)
        proposed = self._components(deployment, prepared, self._store.all())
        manager = proposed.configurations.get(SECRET_MANAGER, Configuration())
        return dataclasses.replace(prepared, held=self._secrets.fetch(manager.values))

    def _components(
        self, deployment: DeploymentDocument, prepared: Prepared, current: Mapping[str, Configuration]
    ) -> Components:
        """What the device is to run, with the configurations that it has now.

        Raises:
            DeploymentFailure: the dependencies are circular, or a script cannot be filled in.
        """
        created = deployment.created.timestamp() + _CREATED_UNTIL
        wanted = {name: wish.update for name, wish in deployment.components.items()}
        configurations = {
            name: current.get(name, Configuration()).deployed(
                recipe.defaults, wanted.get(name, Update()), created, floats=self._nucleus.floats
            )
            for name, recipe in prepared.recipes.items()
        }
        plans = plan.plans(prepared.recipes, configurations, prepared.roots, self._layout, self._thing, self._nucleus)
        if self._nucleus.restarts_configured:
            plans = {name: self._noting_configuration(each, deployment) for name, each in plans.items()}
        start_order(plans)
        return Components(plans, configurations, prepared.held)

    def _noting_configuration(self, component: Plan, deployment: DeploymentDocument) -> Plan:
        """The plan of a component that the nucleus restarts for each configurationUpdate."""
        running = self._supervisor.plans.get(component.name)
        if component.name in deployment.components and deployment.components[component.name].configured:
            return dataclasses.replace(component, configured=deployment.id)
        return dataclasses.replace(component, configured=running.configured if running else "")

    def _check_size(self, deployment: DeploymentDocument) -> None:
        """Raises DeploymentFailure for a deployment with more in it than the nucleus takes."""
        count = count_objects(
            {
                name: {"componentVersion": wish.version, "merge": wish.update.merge, "reset": list(wish.update.reset)}
                for name, wish in deployment.components.items()
            }
        )
        most = self._nucleus.most_objects
        if most is not None and count > most:
            raise DeploymentFailure(
                f"The deployment has {count} keys and values; the {self._nucleus.name} nucleus takes {most} at most",
                "DEPLOYMENT_DOCUMENT_NOT_VALID",
            )

    def _permitted(self, deployment: DeploymentDocument, prepared: Prepared, given_up: threading.Event) -> bool:
        """Ask the components whether they may be updated; False when the deployment was given up.

        Raises:
            DeploymentFailure: a component rejects its new configuration.
        """
        if not self._nucleus.asks:
            return not given_up.is_set()
        if deployment.notify:
            after = self._components(deployment, prepared, self._store.all())
            restarting = bool(bootstrap.needed(self._supervisor.plans, after.plans.values(), rollback=False))
            self._policy.wait_until_safe(deployment.id, deployment.update_timeout, given_up, restarting=restarting)
        if not given_up.is_set():
            self._ask_components(deployment, prepared, given_up)
        return not given_up.is_set()

    def _ask_components(self, deployment: DeploymentDocument, prepared: Prepared, given_up: threading.Event) -> None:
        """Ask components whose version stays to validate their new configuration; others are restarted in any case.

        A part of the device itself is not a component that is asked.

        Raises:
            DeploymentFailure: a component rejects it.
        """
        current, running = self._store.all(), self._supervisor.plans
        after = self._components(deployment, prepared, current)
        proposed = {
            name: configuration.values
            for name, configuration in after.configurations.items()
            if name in running
            and not after.plans[name].builtin
            and name in current
            and running[name].version == after.plans[name].version
            and any(changes(current[name].values, configuration.values))
        }
        wrong = self._validate(deployment.id, proposed, deployment.validation_timeout, given_up)
        if wrong and not given_up.is_set():
            reasons = "".join(f" {{ name = {name}, message = {message} }}" for name, message in wrong.items())
            raise DeploymentFailure(
                f"Components reported that their to-be-deployed configuration is invalid{reasons}",
                "COMPONENT_CONFIGURATION_NOT_VALID",
            )

    def _put(self, deployment: DeploymentDocument, prepared: Prepared) -> tuple[Components, Components]:
        """Set the configurations; returns what the device had before, and what it has to run now.

        Secrets first: a component that is notified of its new configuration may request them at once.

        Raises:
            DeploymentFailure: as in `_components`.
            OSError: the configurations cannot be stored.
        """
        after: list[Components] = []

        def make(current: Mapping[str, Configuration]) -> Mapping[str, Configuration]:
            after.append(self._components(deployment, prepared, current))
            return after[0].configurations

        held = self._secrets.held
        self._secrets.hold(prepared.held)
        try:
            configurations = self._store.deploy(make)
        except BaseException:
            self._secrets.hold(held)
            raise
        return Components(self._supervisor.plans, configurations, held), after[0]

    def _activate(self, after: Components, staged: Sequence[Staged], stopping: threading.Event) -> bool:
        self._say("Applying deployment changes, deployment cannot be cancelled now")
        self._supervisor.apply(after.plans, stopping, put_artifacts=self._putting(staged))
        return self._supervisor.wait_until_settled(stopping)

    @staticmethod
    def _putting(staged: Iterable[Staged]) -> Callable[[], None]:
        def put_artifacts() -> None:
            for each in staged:
                each.put()

        return put_artifacts

    def _roll_back(
        self,
        deployment: DeploymentDocument,
        failure: DeploymentFailure,
        before: Components,
        staged: Sequence[Staged],
        stopping: threading.Event,
    ) -> str:
        """Returns the result in the nucleus's words."""
        wanted = deployment.rollback or isinstance(failure, BootstrapFailure)
        if not wanted or not self._nucleus.rolls_back:
            self._remember_roots(deployment)
            artifacts.finish(self._layout)
            return _NOT_ROLLED_BACK
        self._say("Rolling back to the previous deployment", level="WARN", DeploymentId=deployment.id)

        def put_artifacts() -> None:
            for each in staged:
                each.undo()

        try:
            self._secrets.hold(before.held)
            self._store.restore(before.configurations)
            self._supervisor.apply(before.plans, stopping, rollback=True, put_artifacts=put_artifacts)
            self._supervisor.wait_until_settled(stopping)
        except Exception as error:
            self._say("Rolling back failed", level="ERROR", DeploymentId=deployment.id, reason=failure_of(error))
            return "FAILED_UNABLE_TO_ROLLBACK"
        return "FAILED_ROLLBACK_COMPLETE"

    def _remember_roots(self, deployment: DeploymentDocument) -> None:
        self._roots[deployment.requirement_source] = _pins(deployment)
        try:
            fresh = self._layout.roots.with_suffix(".new")
            fresh.write_text(to_json(self._roots))
            fresh.replace(self._layout.roots)
        except OSError as error:
            self._say("The deployed components could not be stored", level="WARN", error=error)

    def _note_sources(
        self, deployment: DeploymentDocument, before: Components, after: Components, broken: Collection[str]
    ) -> None:
        """Note which components the deployment installed or changed; one that was BROKEN was installed again."""

        def is_changed(name: str) -> bool:
            old, new = before.configurations.get(name), after.configurations[name]
            same = old is not None and not any(changes(old.values, new.values))
            return name in broken or not same or before.plans.get(name) != after.plans[name]

        self._sources = {
            name: deployment.id if is_changed(name) else self._sources.get(name, deployment.id) for name in after.plans
        }

    def _note_deployed(self, prepared: Prepared) -> None:
        texts = {name: recipe.text for name, recipe in prepared.recipes.items()}
        self._deployed = dataclasses.replace(
            self._deployed, recipes=texts, roots=tuple(sorted(prepared.roots)), sources=self._sources
        )

    def _clean(self, prepared: Prepared) -> None:
        artifacts.finish(self._layout)
        try:
            gone = artifacts.remove_all_but(prepared.recipes.values(), self._layout)
        except OSError as error:
            self._say("Unused artifacts could not be removed", level="WARN", error=error)
            return
        for removed in gone:
            for event in ("delete-component-start", "delete-component-finish"):
                self._log.say("componentmanager.ComponentStore", event, componentIdentifier=removed)

    def _cancelled(self, deployment: DeploymentDocument) -> None:
        """The cloud has cancelled it, or has a newer one for the same target."""
        artifacts.finish(self._layout)
        self._say("Deployment was cancelled before it changed anything", DeploymentId=deployment.id)
        self._finished(deployment, Progress(deployment.id, "CANCELED"), "CANCELED")

    def _failed(self, deployment: DeploymentDocument, failure: DeploymentFailure, details: str) -> None:
        self._say(
            "Error occurred while processing deployment", level="ERROR", deploymentId=deployment.id, reason=failure
        )
        progress = Progress(
            deployment.id, "FAILED", f"{details}: {failure}", tuple(failure.stack), tuple(failure.types)
        )
        self._finished(deployment, progress, details)

    def _finished(self, deployment: DeploymentDocument, progress: Progress, details: str) -> None:
        self._store.keep()
        self._deployed = self._deployed.with_finished(deployment.id)
        try:
            self._deployed.store(self._layout.deployed)
        except OSError as error:
            self._say("The end of the deployment could not be stored", level="WARN", error=error)
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
