"""The virtual core's IPC with one component on it, and that component as a process."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emflow_emulator.core.ipc.server import IpcServer
from emulator.core.ipc_device import IpcTestServer, access
from support import PATIENCE, Process, until

COMPONENT = "aws.sagemaker.edgeManagerClientCameraIntegration"
THING = "iMX8MPEVK-Core-001"
SECRETS = "aws.greengrass.SecretManager"


class Core(IpcTestServer):
    """A core device as far as IPC needs one."""

    def __init__(self, folder: Path, python: Callable[..., Process]) -> None:
        super().__init__(folder, {COMPONENT: {}, SECRETS: {}})
        self._folder, self._python = folder, python

    def stop(self) -> None:
        """The nucleus goes away; what it knows stays."""
        self._server.stop()

    def start(self) -> None:
        self._server = IpcServer(self._folder / "ipc.socket", self._owner, self.device.operations, self._log)
        self._server.start()

    def hang_up(self, times: int) -> None:
        """In the place of the nucleus, which is stopped: take so many connections, and close each at once."""
        path = self._folder / "ipc.socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(PATIENCE)
            for _ in range(times):
                listener.accept()[0].close()
        path.unlink()

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Give the component this configuration, whether it likes it or not."""
        self.device.deploy({COMPONENT: dict(config), SECRETS: {}})

    def judged(self, config: Mapping[str, Any]) -> str:
        """What the component says is wrong with a configuration that is about to be deployed; empty when nothing is."""
        validate = self.device.operations.settings.validate
        return validate("deployment-1", {COMPONENT: dict(config)}, 10, threading.Event()).get(COMPONENT, "")

    def run(self, *arguments: str, token: str = COMPONENT, **variables: str) -> Process:
        environment = {
            **os.environ,
            **variables,
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self._folder / "ipc.socket"),
            "SVCUID": token,
            "AWS_IOT_THING_NAME": THING,
        }
        return self._python("emflow_edge", *arguments, env=environment)

    def published(self, topic: str = "em/inference") -> list[dict[str, Any]]:
        return [json.loads(payload) for to, payload, _, _ in self.device.published if to == topic]

    def results(self, number: int, **wanted: object) -> list[dict[str, Any]]:
        """Wait for so many more results with these values; them."""
        begin = len(self.published())

        def found() -> list[dict[str, Any]]:
            new = self.published()[begin:]
            return [one for one in new if all(one.get(key) == value for key, value in wanted.items())]

        until(lambda: len(found()) >= number, what=f"{number} results with {wanted}, not {self.published()[-1:]}")
        return found()

    @property
    def states(self) -> list[str]:
        return [state for component, state in self.device.states if component == COMPONENT]


def publishing(*topics: str) -> dict[str, Any]:
    """`accessControl` that lets the component publish to topics."""
    return access("aws.greengrass.ipc.mqttproxy", ["PublishToIoTCore"], list(topics or ("em/inference",)))
