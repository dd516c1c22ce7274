"""A supervisor in a world of its own: real processes, their states, what they wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from emflow_emulator.core.component import State
from emflow_emulator.core.environment import Credentials, DeviceIdentity
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.process import OrphanCleanup
from emflow_emulator.core.supervisor import Supervisor
from emulator.core.pieces import lines

FOREVER = 'echo "up $$" >> log; exec sleep 600'


class World:
    """A supervisor, the states that it went through, and what its components wrote."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.layout.make()
        self.states: list[tuple[str, State]] = []
        self.on_state: dict[State, Callable[[], object]] = {}
        """What to do, once, when a component first has a state."""
        self._orphan_cleanup = OrphanCleanup()
        device = DeviceIdentity("board", "us-east-1", "http://127.0.0.1:1", self.layout.socket, self.layout.root_ca)
        self.supervisor = Supervisor(self.layout, device, Credentials("http://x"), self._orphan_cleanup, self._note)

    def apply(self, *plans: Plan) -> None:
        self.supervisor.apply({each.name: each for each in plans})

    def settle(self) -> None:
        assert self.supervisor.wait_until_settled(threading.Event())

    def state(self, name: str) -> State | None:
        component = self.supervisor.component(name)
        return component.state if component else None

    def history(self, name: str) -> list[State]:
        """The states of one component, each time it had another one."""
        seen = [state for each, state in self.states if each == name]
        return [state for at, state in enumerate(seen) if at == 0 or seen[at - 1] != state]

    def wrote(self, name: str, file: str = "log") -> list[str]:
        return lines(self.layout.work(name) / file)

    def close(self) -> None:
        self.supervisor.stop()
        self._orphan_cleanup.close()

    def _note(self) -> None:
        now = [(component.plan.name, component.state) for component in self.supervisor.components]
        self.states += now
        for _, state in now:
            self.on_state.pop(state, lambda: None)()
