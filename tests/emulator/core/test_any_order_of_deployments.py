"""A model of the device: deployments, cancellations, deferrals, kills and updates of configuration, in any order.

At each step: what did not change keeps its process and its folders; each component has exactly one tree of processes;
configuration is what was accepted, by its timestamps. At the end nothing is left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import connect
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from emflow_emulator.core.nucleus import Nucleus
from emulator.core.conftest import Cloud
from emulator.core.pieces import alive, lines
from support import until

pytestmark = pytest.mark.e2e

NAMES = ("any-a", "any-b", "any-c")
VERSIONS = ("1.0.0", "2.0.0")
DETACHED = '(env -i setsid sh -c \'echo $$ >> "$1"; exec sleep 600\' sh "$PWD/detached" &)'
INSTALL = """
cd "{artifacts:decompressedPath}/app"
mkdir -p made
echo '#!/bin/sh' > made/program
chmod 755 made/program
"""
RUN = (
    f'"{{artifacts:decompressedPath}}/app/made/program" || exit 1; {DETACHED}; '
    'until [ -s detached ] && [ "$(wc -l < detached)" -gt "$(cat pids 2>/dev/null | wc -l)" ]; do sleep 0.02; done; '
    "echo $SVCUID > token; echo $$ >> pids; exec sleep 600"
)
MOST_KILLS = 2
"""Of one component: after the third error within an hour it is BROKEN."""
HOUR = 3_600_000

_numbers = count(1)
keys = st.sampled_from(("x", "y"))
wanted = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VERSIONS), min_size=1)


class Machine(RuleBasedStateMachine):
    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud
        self.root = Path(tempfile.mkdtemp(prefix="core-"))
        self.device: Any = Nucleus(
            thing=f"any-order-{next(_numbers)}",
            root=self.root,
            endpoint_url=cloud.endpoint_url,
            mqtt=("127.0.0.1", cloud.mqtt_port),
            access=cloud.access,
        )
        self.arn = self.device.start()
        self.running: dict[str, str] = {}
        self.configuration: dict[str, dict[str, str]] = {}
        self.kills: dict[str, int] = {}
        self.before: dict[str, Any] = {}

    def deploy(self, components: dict[str, str], **more: Any) -> str:
        merge = more.get("merge", {})
        named = {
            name: {"componentVersion": version}
            | ({"configurationUpdate": {"merge": json.dumps(merge)}} if merge else {})
            for name, version in components.items()
        }
        return str(
            self.cloud.greengrass.create_deployment(targetArn=self.arn, components=named | more.get("others", {}))[
                "deploymentId"
            ]
        )

    def status(self, deployment: str) -> str:
        return next((s for d, s in self._statuses() if d == deployment), "")

    def _statuses(self) -> list[tuple[str, str]]:
        listed = self.cloud.greengrass.list_effective_deployments(coreDeviceThingName=self.device.thing)
        return [(each["deploymentId"], each["coreDeviceExecutionStatus"]) for each in listed["effectiveDeployments"]]

    def succeeded(self, components: dict[str, str], merge: dict[str, str]) -> None:
        """The model of a deployment that succeeded."""
        changed = {name for name in components if self.running.get(name) != components[name]}
        self.configuration = {name: self.configuration.get(name, {}) | merge for name in components}
        self.kills = {name: 0 if name in changed else self.kills.get(name, 0) for name in components}
        self.before = {name: each for name, each in self.before.items() if name in components and name not in changed}
        self.running = dict(components)

    @rule(components=wanted, key=keys, value=st.sampled_from(("", "1", "2")))
    def deploys(self, components: dict[str, str], key: str, value: str) -> None:
        merge = {key: f"deployed {value}"} if value else {}
        deployment = self.deploy(components, merge=merge)
        until(lambda: self.status(deployment) == "SUCCEEDED")
        self.succeeded(components, merge)

    @rule(components=wanted)
    def deploys_what_fails(self, components: dict[str, str]) -> None:
        others = {"any-bad": {"componentVersion": "1.0.0"}}
        changed = {name for name in self.running if components.get(name) != self.running[name]}
        deployment = self.deploy(components, merge={"x": "never"}, others=others)
        until(lambda: self.status(deployment) == "FAILED", 60)
        # What it had changed is started again.
        self.kills |= dict.fromkeys(changed, 0)
        self.before = {name: each for name, each in self.before.items() if name not in changed}

    @precondition(lambda self: self.running)
    @rule(data=st.data(), key=keys)
    def updates_its_configuration(self, data: st.DataObject, key: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        value = f"own {time.time()}"
        self.device.configure(name, [], {key: value}, time.time())
        self.configuration[name][key] = value

    @precondition(lambda self: any(self.kills.get(name, 0) < MOST_KILLS for name in self.running))
    @rule(data=st.data())
    def is_killed(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n in self.running if self.kills.get(n, 0) < MOST_KILLS)))
        (pid,) = self.living(name)
        os.kill(int(pid), signal.SIGKILL)
        until(lambda: self.living(name) not in ([], [pid]))
        self.kills[name] = self.kills.get(name, 0) + 1
        self.before.pop(name, None)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), key=keys, how=st.sampled_from(("cancel", "newer", "update")))
    def defers(self, data: st.DataObject, key: str, how: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        asked = threading.Event()
        wait = [HOUR]
        (token,) = lines(self.device.layout.work(name) / "token")
        client = GreengrassCoreIPCClientV2(client=connect(ipc_socket=str(self.device.layout.socket), authtoken=token))

        def on_event(event: Any) -> None:
            if event.pre_update_event:
                deployment_id = event.pre_update_event.deployment_id
                client.defer_component_update_async(deployment_id=deployment_id, recheck_after_ms=wait[0])
                asked.set()

        client.subscribe_to_component_updates(on_stream_event=on_event)
        wait[0] = 500 if how == "update" else HOUR
        components, merge = dict(self.running), {key: "deferred"}
        deployment = self.deploy(components, merge=merge)
        assert asked.wait(30)
        if how == "cancel":
            self.cloud.greengrass.cancel_deployment(deploymentId=deployment)
            until(lambda: self.status(deployment) == "CANCELED")
        elif how == "newer":
            wait[0] = 0
            newer = self.deploy(components, merge={"z": "newer"})
            until(lambda: self.status(newer) == "SUCCEEDED")
            assert self.status(deployment) == "CANCELED"
            self.succeeded(components, {"z": "newer"})
        else:
            value = f"own {time.time()}"
            self.device.configure(name, [], {key: value}, time.time())
            wait[0] = 0
            until(lambda: self.status(deployment) == "SUCCEEDED")
            self.succeeded(components, merge)
            self.configuration[name][key] = value
        client.close().result(10)

    def living(self, name: str, file: str = "pids") -> list[str]:
        return [pid for pid in lines(self.device.layout.work(name) / file) if alive(pid)]

    def folders(self, name: str) -> Any:
        """The files of a component, by their inodes and times."""
        places = [self.device.layout.artifacts, self.device.layout.unarchived]
        found = [path for place in places for path in sorted(place(name, self.running[name]).rglob("*"))]
        return [(str(path), path.lstat().st_ino, path.lstat().st_mode, path.lstat().st_mtime_ns) for path in found]

    @invariant()
    def runs_what_was_deployed(self) -> None:
        until(lambda: all(len(self.living(name, file)) == 1 for name in self.running for file in ("pids", "detached")))
        assert {each.name: each.version for each in self.device.details()} == self.running

    @invariant()
    def has_one_tree_of_processes_a_component(self) -> None:
        for name in NAMES:
            expected = int(name in self.running)
            assert len(self.living(name)) == expected, name
            assert len(self.living(name, "detached")) == expected, name

    @invariant()
    def unchanged_components_keep_process_and_folders(self) -> None:
        now = {name: (self.living(name), self.folders(name)) for name in self.running}
        for name, before in self.before.items():
            assert now[name] == before, name
        self.before = now

    @invariant()
    def has_the_configuration_that_was_accepted(self) -> None:
        assert {name: self.device.configuration(name) for name in self.running} == self.configuration

    def teardown(self) -> None:
        self.device.stop()
        left = [pid for name in NAMES for file in ("pids", "detached") for pid in self.living(name, file)]
        shutil.rmtree(self.root)
        assert left == []


def test_any_order_of_deployments_kills_and_updates(cloud: Cloud, brisk: None) -> None:
    for name in NAMES:
        uri = cloud.put(f"{name}/app.zip", {"data": "x" * 100})
        for version in VERSIONS:
            artifacts = [{"URI": uri, "Unarchive": "ZIP"}]
            cloud.component(name, version, artifacts=artifacts, lifecycle={"install": INSTALL, "run": RUN})
    cloud.component("any-bad", lifecycle={"run": "exit 1"})
    run_state_machine_as_test(
        lambda: Machine(cloud),  # type: ignore[arg-type]  # what makes one is enough
        settings=settings(
            max_examples=3,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
