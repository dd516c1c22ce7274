"""The whole device: starts and stops its parts in order, and polls for deployments."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.httpsession import get_cert_path

from emflow_emulator.access import Access
from emflow_emulator.core import board_python
from emflow_emulator.core.cloud_client import CloudLink, CloudLost
from emflow_emulator.core.configuration import ConfigurationStore
from emflow_emulator.core.deploy import Deployer
from emflow_emulator.core.environment import Credentials, DeviceIdentity
from emflow_emulator.core.failure import failure_of
from emflow_emulator.core.ipc.components import Details
from emflow_emulator.core.ipc.operations import Operations
from emflow_emulator.core.ipc.server import IpcServer
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.mqtt_bridge import Bridge, Publication
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel
from emflow_emulator.core.process import OrphanCleanup
from emflow_emulator.core.recipe import device_platform
from emflow_emulator.core.secrets import Secret, Secrets
from emflow_emulator.core.status import Progress, Reporter, report
from emflow_emulator.core.supervisor import Supervisor
from emflow_emulator.core.token_exchange import NoCredentials, TokenExchange

_POLL = 0.5
"""Seconds between two polls for a new deployment."""


class Nucleus:
    """A virtual core device, from `start` to `stop`.

    Args:
        thing: the name of its thing, which is made if it does not exist.
        root: the device's folder, `/greengrass/v2` on a board.
        endpoint_url: the embedded AWS.
        mqtt: host and port of the broker.
        access: the credentials for both.
        role_alias: the role alias for the device's credentials; None: the first one of the account.
        removes: a folder to remove when the parent process was killed.
        architecture: the one that the device says it has; empty for that of this machine.
        nucleus: the nucleus that it behaves as.
    """

    def __init__(
        self,
        *,
        thing: str,
        root: Path,
        endpoint_url: str,
        mqtt: tuple[str, int],
        access: Access,
        region: str = "us-east-1",
        role_alias: str | None = None,
        removes: Path | None = None,
        architecture: str = "",
        nucleus: NucleusModel = CLASSIC,
    ) -> None:
        self.thing = thing
        self._nucleus = nucleus
        self.layout = Layout(root.resolve())
        self._mqtt = mqtt
        self._broker = access.broker
        self._removes = removes
        self._region = region
        self._link = CloudLink(thing, endpoint_url, access.key, region, role_alias)
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        """Set when the device stops, or when the cloud does not want the current deployment any more."""
        self._progress: Progress | None = None
        self._deployer: Deployer | None = None
        self._platform = device_platform(architecture, nucleus)
        self._log = DeviceLog(self.layout.greengrass_log)
        self._operations = Operations(self, nucleus)
        self._store = ConfigurationStore(
            self.layout.configuration, self._operations.settings.changed, floats=nucleus.floats
        )
        self._secrets = Secrets(self._link.secrets_manager)

    def start(self) -> str:
        """Start the device and the polling for deployments. Returns the thing's ARN.

        Raises:
            Problem: the folder, the Python or the socket cannot be made, or the cloud does not answer.
        """
        with ExitStack() as undo:
            orphan_cleanup = OrphanCleanup(self._removes)
            undo.callback(orphan_cleanup.close)
            self.layout.make()
            self._python = board_python.make(self.layout, undo)
            arn = self._link.make_thing()
            shutil.copyfile(str(get_cert_path(True)), self.layout.root_ca)
            self._start_parts(orphan_cleanup, undo)
            self._undo = undo.pop_all()
        return arn

    def stop(self) -> None:
        """Stop all components, dependents before their dependencies, then all other parts."""
        self._stopping.set()
        self._given_up.set()
        self._undo.close()

    def _start_parts(self, orphan_cleanup: OrphanCleanup, undo: ExitStack) -> None:
        """Start all parts; they are stopped in reverse order."""
        tokens = TokenExchange(lambda token: self._supervisor.owner_of(token) is not None, self._credentials)
        undo.callback(tokens.stop)
        reporter = Reporter(self._report, self._link.report, self._log)
        self._changed = reporter.changed
        device = DeviceIdentity(
            self.thing,
            self._region,
            self._link.endpoint_url,
            self.layout.socket,
            self.layout.root_ca,
            self._python,
            self._nucleus,
        )
        self._supervisor = Supervisor(self.layout, device, Credentials(tokens.uri), orphan_cleanup, self._changed)
        ipc = IpcServer(
            self.layout.socket,
            self._supervisor.owner_of,
            self._operations,
            self._log,
            self._nucleus.longest_ipc_message,
        )
        ipc.start()
        undo.callback(ipc.stop)
        tokens.start()
        self._bridge = Bridge(*self._mqtt, self._broker, self.thing, self._log, self._nucleus.largest_spool)
        undo.callback(self._bridge.stop)
        self._bridge.start()
        undo.callback(reporter.stop)
        reporter.start()
        undo.callback(self._supervisor.stop)
        deployments = threading.Thread(target=self._look_for_deployments, name="deployments")
        undo.callback(deployments.join)
        deployments.start()

    # The following methods are the device's functions for IPC.

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        found = self._store.get(component)
        return found.values if found else None

    def configure(self, component: str, keys: list[str], values: Mapping[str, Any], timestamp: float) -> None:
        self._store.update(component, keys, values, timestamp)

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        self._bridge.publish(Publication(topic, payload, qos, retain and self._nucleus.retains))

    def subscribe(self, topic_filter: str, qos: int, on_message: Callable[[str, bytes], None]) -> Callable[[], None]:
        return self._bridge.subscribe(topic_filter, qos, on_message)

    def runs(self, component: str) -> bool:
        return self._supervisor.component(component) is not None

    def secret(self, secret_id: str, version: str | None, stage: str | None, refresh: bool) -> Secret:
        return self._secrets.get(secret_id, version, stage, refresh)

    def details(self) -> list[Details]:
        return [
            Details(each.plan.name, each.plan.version, str(each.state), self.configuration(each.plan.name) or {})
            for each in self._supervisor.components
        ]

    def measured(self, component: str, name: str, unit: str, value: float) -> None:
        self._log.say("telemetry.ComponentMetric", name, NS=component, U=unit, V=value)

    def reported(self, component: str, state: str) -> None:
        found = self._supervisor.component(component)
        if found:
            found.report(state)

    def _look_for_deployments(self) -> None:
        deployer = self._deployer = Deployer(
            thing=self.thing,
            layout=self.layout,
            platform=self._platform,
            catalogue=self._link,
            download=self._link.download,
            store=self._store,
            supervisor=self._supervisor,
            secrets=self._secrets,
            validate=self._operations.settings.validate,
            policy=self._operations.lifecycle,
            log=self._log,
            on_progress=self._on_progress,
            nucleus=self._nucleus,
        )
        deployer.resume(self._stopping)
        seen = set(deployer.finished)
        lost = False
        while not self._stopping.wait(_POLL):
            try:
                for deployment_id, status in self._link.deployments():
                    if deployment_id not in seen and status != "CANCELED" and not self._stopping.is_set():
                        self._take(deployment_id, deployer)
                        seen.add(deployment_id)
                lost = False
            except Exception as error:  # not only CloudLost: this thread must not end, because it finds the deployments
                if not lost:
                    what = "The cloud does not answer" if isinstance(error, CloudLost) else "Unexpected"
                    self._log.say("deployment.DeploymentService", what, level="WARN", error=repr(error))
                lost = True

    def _take(self, deployment_id: str, deployer: Deployer) -> None:
        try:
            deployment = self._link.deployment(deployment_id)
            deployer.keep_targets(self._link.targets())
        except CloudLost:
            raise
        except Exception as error:
            failure = failure_of(error)
            self._on_progress(
                Progress(deployment_id, "FAILED", str(failure), tuple(failure.stack), tuple(failure.types))
            )
            return
        with self._watched(deployment_id) as given_up:
            deployer.deploy(deployment, self._stopping, given_up)

    @contextmanager
    def _watched(self, deployment_id: str) -> Iterator[threading.Event]:
        """Watch whether the cloud still wants a deployment: it may be cancelled, or be replaced by a newer one."""
        self._given_up = given_up = threading.Event()
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_POLL) and not given_up.is_set():
                with suppress(Exception):  # it is asked again, and this thread must not end
                    if dict(self._link.deployments()).get(deployment_id, "CANCELED") == "CANCELED":
                        given_up.set()

        watcher = threading.Thread(target=watch, name="deployment-watch", daemon=True)
        watcher.start()
        if self._stopping.is_set():
            given_up.set()
        try:
            yield given_up
        finally:
            over.set()
            watcher.join()

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        self._changed()

    def _report(self) -> dict[str, Any]:
        sources = self._deployer.sources if self._deployer else {}
        return report(self._supervisor.components, self._progress, self._platform, sources, self._nucleus)

    def _credentials(self) -> Mapping[str, Any]:
        try:
            return self._link.credentials()
        except CloudLost as error:
            raise NoCredentials(str(error)) from error
