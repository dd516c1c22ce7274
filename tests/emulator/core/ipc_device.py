"""A device for IPC's tests: real configuration and topics, the rest written down, and clients of awsiotsdk."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import connect, model
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from emflow_emulator.core.configuration import Configuration, ConfigurationStore, Update
from emflow_emulator.core.ipc.components import Details
from emflow_emulator.core.ipc.operations import Operations
from emflow_emulator.core.ipc.server import IpcServer
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.mqtt_bridge import PublishRefused
from emflow_emulator.core.secrets import NoSecret, Secret
from emflow_emulator.core.topics import SubscribeRefused, check, fits

TIMEOUT = 30


def access(service: str, operations: list[str], resources: list[str]) -> dict[str, Any]:
    """`accessControl` for one service."""
    policy = {"operations": [f"aws.greengrass#{each}" for each in operations], "resources": resources}
    return {"accessControl": {service: {"policy": policy}}}


class Device:
    """What the operations do to a device, written down."""

    thing = "board"

    def __init__(self, folder: Path, configurations: Mapping[str, dict[str, Any]]) -> None:
        self.operations = Operations(self)
        self.store = ConfigurationStore(folder / "configuration.json", self.operations.settings.changed)
        self.deploy(configurations)
        self.published: list[tuple[str, bytes, int, bool]] = []
        self.states: list[tuple[str, str]] = []
        self.metrics: list[tuple[str, str, str, float]] = []
        self.secrets: dict[str, Secret] = {}
        self.refuses = ""
        self._heard: dict[object, tuple[str, Callable[[str, bytes], None]]] = {}

    def deploy(self, configurations: Mapping[str, dict[str, Any]]) -> None:
        """As a deployment that resets and merges."""
        old = self.store.all()
        reset = Update([""], {})
        self.store.replace(
            {
                name: old.get(name, Configuration()).deployed({}, Update(reset.reset, values))
                for name, values in configurations.items()
            }
        )

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        found = self.store.get(component)
        return found.values if found else None

    def configure(self, component: str, keys: list[str], values: Mapping[str, Any], timestamp: float) -> None:
        self.store.update(component, keys, values, timestamp)

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        if self.refuses:
            raise PublishRefused(self.refuses)
        self.published.append((topic, payload, qos, retain))

    def subscribe(self, topic_filter: str, qos: int, hear: Callable[[str, bytes], None]) -> Callable[[], None]:
        check(topic_filter)
        if self.refuses:
            raise SubscribeRefused(self.refuses)
        mine = object()
        self._heard[mine] = (topic_filter, hear)
        return lambda: self._heard.pop(mine) and None

    @property
    def listens(self) -> list[str]:
        return [topic_filter for topic_filter, _ in self._heard.values()]

    def arrives(self, topic: str, payload: bytes) -> None:
        """A message comes from the broker."""
        for topic_filter, hear in list(self._heard.values()):
            if fits(topic_filter, topic):
                hear(topic, payload)

    def reported(self, component: str, state: str) -> None:
        self.states.append((component, state))

    def details(self) -> list[Details]:
        return [Details(name, "1.0.0", "RUNNING", each.values) for name, each in self.store.all().items()]

    def measured(self, component: str, name: str, unit: str, value: float) -> None:
        self.metrics.append((component, name, unit, value))

    def runs(self, component: str) -> bool:
        return component in self.store.all()

    def secret(self, secret_id: str, version: str | None, stage: str | None, refresh: bool) -> Secret:
        if secret_id not in self.secrets:
            raise NoSecret(f"Secret not found {secret_id}")
        return self.secrets[secret_id]


class IpcTestServer:
    """A server with its device, and clients that are gone when it is closed. Everybody's token is his own name."""

    def __init__(self, folder: Path, configurations: Mapping[str, dict[str, Any]]) -> None:
        self.device = Device(folder, configurations)
        self._socket = folder / "ipc.socket"
        self._clients: list[GreengrassCoreIPCClientV2] = []
        self._log = DeviceLog(folder / "greengrass.log")
        self._server = IpcServer(self._socket, self._owner, self.device.operations, self._log)
        self._server.start()

    def client(self, component: str) -> Any:
        made = GreengrassCoreIPCClientV2(client=connect(ipc_socket=str(self._socket), authtoken=component))
        self._clients.append(made)
        return made

    def leave(self, client: Any) -> None:
        self._clients.remove(client)
        client.close().result(TIMEOUT)

    def close(self) -> None:
        for client in list(self._clients):
            self.leave(client)
        self._server.stop()

    def _owner(self, token: str) -> str | None:
        return token if self.device.store.get(token) else None


class Events:
    """Events of a subscription, as they come."""

    def __init__(self) -> None:
        self._heard: queue.Queue[Any] = queue.Queue()

    def __call__(self, event: Any) -> None:
        self._heard.put(event)

    def next(self) -> Any:
        return self._heard.get(timeout=TIMEOUT)

    @property
    def none(self) -> bool:
        return self._heard.empty()


@contextmanager
def refused(kind: type[model.GreengrassCoreIPCError], message: str = "") -> Iterator[None]:
    """What is done within is refused with this error, whose message has these words; its text is empty."""
    with pytest.raises(kind) as caught:
        yield
    assert message in caught.value.message
