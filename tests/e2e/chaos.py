"""What the chaos test takes away and gives back: a camera, an agent, a broker, a nucleus' socket."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import queue
import random
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from emflow_emulator.access import BrokerUser
from emflow_emulator.broker import Broker
from emflow_emulator.child import Child
from emflow_emulator.core.ipc.server import IpcServer
from emflow_emulator.core.logs import DeviceLog
from emulator.core.ipc_device import Device
from support import PATIENCE, Process, free_port, holds


class Part(Protocol):
    """One thing that can go away."""

    name: str

    def take_away(self, how: random.Random) -> None: ...

    def give_back(self) -> None: ...


class Camera:
    """The test camera, always on the same port: killed, or stopped with its connections open."""

    name = "camera"

    def __init__(self, folder: Path) -> None:
        self._folder, self._port, self._number = folder, free_port(), 0
        self._frozen = False
        self._start()

    def _start(self) -> None:
        self._number += 1
        log = self._folder / f"camera-{self._number}.log"
        self._child = Child("camera", "emflow_emulator.camera", ["--port", str(self._port)], log)
        self.url: str = self._child.ready()["url"]

    def take_away(self, how: random.Random) -> None:
        self._frozen = how.random() < 0.5
        os.kill(self._child.pid, signal.SIGSTOP if self._frozen else signal.SIGKILL)
        if not self._frozen:
            self._child.stop()

    def give_back(self) -> None:
        if self._frozen:
            os.kill(self._child.pid, signal.SIGCONT)
        else:
            self._start()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGCONT)
        self._child.stop()


class Agent:
    """The agent on one socket: killed, told to end, or stopped with its socket open."""

    name = "agent"

    def __init__(self, socket: Path, start: Callable[..., Process]) -> None:
        self.socket, self._start_process = socket, start
        self._frozen = False
        self.process: Process
        self.give_back()

    def give_back(self) -> None:
        if self._frozen:
            self.process.popen.send_signal(signal.SIGCONT)
            self._frozen = False
            return
        command = (sys.executable, "-m", "emflow_agent", "--socket", str(self.socket), "--clean-stale-socket")
        self.process = self._start_process(*command)
        self.process.says("Server listening on")

    def take_away(self, how: random.Random) -> None:
        number = how.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
        self._frozen = number == signal.SIGSTOP
        self.process.popen.send_signal(number)
        if not self._frozen:
            self.process.ended()


class EmbeddedBroker:
    """The MQTT broker, always on the same port."""

    name = "broker"

    def __init__(self) -> None:
        self.port, self.user = free_port(), BrokerUser.new()
        self.give_back()

    def take_away(self, how: random.Random) -> None:
        self._broker.stop()

    def give_back(self) -> None:
        self._broker = Broker(port=self.port, user=self.user)
        self._broker.start()

    def stop(self) -> None:
        self._broker.stop()


class _Device(Device):
    """A device that hands on what is published."""

    def __init__(self, folder: Path, configurations: Mapping[str, dict[str, Any]]) -> None:
        super().__init__(folder, configurations)
        self.arrived: queue.Queue[dict[str, Any]] = queue.Queue()

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        self.arrived.put(json.loads(payload))


class Nucleus:
    """A nucleus' IPC socket, one component's configuration behind it, and what that component published."""

    name, thing, token, component = "nucleus", "a-thing", "token", "com.example.Camera"

    def __init__(self, socket: Path) -> None:
        self.socket, self._device = socket, _Device(socket.parent, {self.component: {}})
        self.published = self._device.arrived
        self.give_back()

    def deploy(self, configuration: dict[str, Any]) -> None:
        self._device.deploy({self.component: configuration})

    def take_away(self, how: random.Random) -> None:
        self._server.stop()

    def give_back(self) -> None:
        log = DeviceLog(self.socket.with_suffix(".log"))
        owners = {self.token: self.component}
        self._server = IpcServer(self.socket, owners.get, self._device.operations, log)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


def _size(held: int | list[str]) -> int:
    return held if isinstance(held, int) else len(held)


class Footprint:
    """What a process holds: threads, file descriptors, resident kilobytes, and System V segments of its making."""

    def __init__(self, pid: int) -> None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        self.threads = int(status["Threads"])
        self.resident = int(status["VmRSS"].split()[0])
        self.open = descriptors(pid)
        self.files = len(self.open)
        self.segments = segments_of(pid)

    def most(self, other: Footprint) -> Footprint:
        """The larger of two, in each respect."""
        made = copy.copy(self)
        for name, value in vars(other).items():
            setattr(made, name, max(value, getattr(made, name), key=_size))
        return made

    def __str__(self) -> str:
        kept = f"{self.threads} threads, {self.files} files, {self.segments} shared segments"
        return f"{kept}, {self.resident / 1024:.0f} MiB"


def descriptors(pid: int) -> list[str]:
    """What a process has open: files by their paths, sockets by the two ends that the kernel tells of."""
    sockets = {}
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        sockets[fields[6]] = " ".join(["unix", f"state {fields[5]}", *fields[7:]])
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        sockets[fields[9]] = f"tcp {fields[1]} to {fields[2]}, state {fields[3]}"
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = str(entry.readlink())
            found.append(sockets.get(name[len("socket:[") : -1], name) if name.startswith("socket:[") else name)
    return sorted(found)


def segments_of(pid: int) -> int:
    """How many System V shared memory segments a process has made that are still there (cpid, proc(5))."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    maker = lines[0].split().index("cpid")
    return sum(int(line.split()[maker]) == pid for line in lines[1:])


def settled(pid: int, wanted: Callable[[Footprint], bool], timeout: float = PATIENCE) -> Footprint:
    """The footprint once it is as wanted, or as it is when time is up: threads and sockets take a moment to end."""
    found: list[Footprint] = []

    def is_as_wanted() -> bool:
        found[:] = [Footprint(pid)]
        return wanted(found[0])

    holds(is_as_wanted, timeout)
    return found[0]
