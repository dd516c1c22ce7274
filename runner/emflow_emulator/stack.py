"""The processes of `emflow up`: cloud, camera and core device as child processes that share one temporary folder.

The cloud and the camera start at the same time; the core device starts when the cloud is ready. They are stopped in
reverse order, and then the folder is removed.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.recipes.deployment import secrets as cameras_secrets
from emflow.workflow.model import OpenAgent, Stream, Workflow
from emflow_emulator import provisioning
from emflow_emulator.access import NO_AWS, Access, past_proxies, write_private
from emflow_emulator.child import Child

SCENES = "scenes"
"""The test camera shows drawn scenes in a fixed order."""
FROM_WORKFLOW = "workflow"
"""No test camera: the streams keep the URLs of the workflow."""


@dataclass(frozen=True)
class Cloud:
    """The addresses of the embedded AWS and of the broker, and the credentials that they accept.

    `shell_file`: the path of a file with shell commands that set the credentials.
    """

    endpoint_url: str
    mqtt_host: str
    mqtt_port: int
    access: Access
    shell_file: Path


@dataclass(frozen=True)
class Camera:
    """The URL of the test camera; `scenes` is empty when it shows a still picture.

    `locked_url` is the URL of a second camera with the same picture that needs the password of `login`.
    """

    url: str
    dwell: float
    scenes: tuple[str, ...]
    locked_url: str = ""
    login: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Core:
    """The virtual core device. `secrets`: the ARN in the embedded AWS of each secret, by its ARN in the workflow."""

    thing: str
    root: Path
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def agent_socket(self) -> Path:
        return self.root / "agent.sock"


class Stack:
    """Cloud, camera and core device while the `with` block runs; nothing is made before it.

    Args:
        camera: `scenes`, `workflow`, or the path of a picture to show.
        job_seconds: how long the embedded SageMaker's jobs take.
        architecture: the one that the core device says it has; empty for that of this machine.
        nucleus: the nucleus that the core device behaves as, `classic` or `lite`.
    """

    def __init__(
        self, *, camera: str = SCENES, job_seconds: float = 1.0, architecture: str = "", nucleus: str = "classic"
    ) -> None:
        self.architecture = architecture
        self.nucleus = nucleus
        self._camera = camera
        self._job_seconds = job_seconds
        self._children: list[Child] = []
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self._died: Callable[[str, str], object] | None = None
        self.abandoned = threading.Event()
        """Set when another thread stops everything and ends the process."""

    def __enter__(self) -> Stack:
        """Raises Problem when its folder cannot be made."""
        with self._changing:
            try:
                self.folder = Path(tempfile.mkdtemp(prefix="emflow-up-"))
            except OSError as error:
                where = tempfile.gettempdir()
                raise Problem(f"no folder for temporary files: {error.strerror}", where=where) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # When a child process has ended, its end is reported and not the errors that follow from it. When another
        # thread stops everything, it also ends this process, and an error of this thread would only be a consequence.
        if self.abandoned.is_set() or (error is not None and self._blame()):
            threading.Event().wait()
        self._stop()

    def abandon(self, say: Callable[[], object]) -> None:
        """Stop everything from another thread, which then ends the process. `say` is called first."""
        self.abandoned.set()
        say()
        self._stop()

    def watch(self, died: Callable[[str, str], object]) -> None:
        """Call `died` with the name of a process and the reason when it ends by itself after it was ready."""
        self._died = died

        def look() -> None:
            while not self._closed.wait(0.5) and not self._blame():
                pass

        threading.Thread(target=look, name="children-watch", daemon=True).start()

    def _blame(self) -> bool:
        """Report a process that ended by itself; False when there is none."""
        with self._changing:
            gone = next((child for child in self._children if child.announced and not child.running), None)
        if gone is None or self._died is None or self._closed.is_set():
            return False
        self._died(gone.name, gone.last_words())
        return True

    def _stop(self) -> None:
        self._closed.set()
        with self._changing:
            while self._children:
                self._children.pop().stop()
            if hasattr(self, "folder"):
                shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, workflow: Workflow) -> tuple[Cloud, Camera | None]:
        """Start the cloud and the camera, and a second camera with a password if a stream has credentials.

        Raises:
            Problem: one of them did not start.
        """
        access = Access.new()
        access.write(self._access_file)
        ports = "--port", "0", "--mqtt-port", "0", "--access", str(self._access_file)
        cloud = self._child("cloud", *ports, "--job-seconds", str(self._job_seconds))
        camera = locked = None
        login: dict[str, str] = {}
        if self._camera != FROM_WORKFLOW:
            picture = () if self._camera == SCENES else ("--image", self._camera)
            camera = self._child("camera", "--port", "0", *picture)
            if cameras_secrets(workflow):
                login = {"username": "emflow", "password": secrets.token_urlsafe(16)}
                file = self.folder / "camera-login.json"
                write_private(file, to_json(login))
                locked = self._child("camera", "--port", "0", "--login", str(file), *picture, log="locked-camera")
        facts = cloud.ready()
        shell_file = self.folder / "credentials.sh"
        lines = access.shell_lines(facts["endpoint_url"], workflow.aws.region)
        write_private(shell_file, "\n".join([*lines, ""]))
        at = Cloud(facts["endpoint_url"], facts["mqtt_host"], facts["mqtt_port"], access, shell_file)
        if camera is None:
            return at, None
        shown: dict[str, Any] = camera.ready()
        return at, Camera(
            shown["url"],
            float(shown.get("dwell") or 0),
            tuple(shown.get("scenes") or ()),
            locked.ready()["url"] if locked else "",
            login,
        )

    def start_core(self, thing: str, cloud: Cloud, workflow: Workflow, camera: Camera | None) -> Core:
        """Start the virtual core device, and make the other resources that the workflow expects to exist.

        Raises:
            Problem: it did not start, or the workflow needs a resource that cannot be made on this machine.
        """
        root = self.folder / "greengrass"
        mqtt = f"{cloud.mqtt_host}:{cloud.mqtt_port}"
        role = workflow.cloud.role
        core = self._child(
            "core",
            *("--thing", thing, "--root", str(root), "--endpoint-url", cloud.endpoint_url, "--mqtt", mqtt),
            *("--access", str(self._access_file)),
            *("--region", workflow.aws.region, "--role-alias", role.from_alias or role.alias),
            *("--architecture", self.architecture, "--nucleus", self.nucleus, "--remove", str(self.folder)),
        )
        core.ready()
        login = camera.login if camera else None
        made = provisioning.provision(workflow, thing, cloud.endpoint_url, cloud.access.key, login)
        return Core(thing, root, made)

    @property
    def _access_file(self) -> Path:
        return self.folder / "access.json"

    def _child(self, name: str, *args: str, log: str = "") -> Child:
        with self._changing:
            if self._closed.is_set():
                raise Problem("stopped while starting", where=name)
            child = Child(name, f"emflow_emulator.{name}", args, self.folder / f"{log or name}.log")
            self._children.append(child)
            return child


def on_this_machine(workflow: Workflow, camera: Camera | None, core: Core) -> Workflow:
    """The same workflow with values for this machine where it has values that fit only a board.

    Streams show the test camera. The agent's socket is in the device's folder, so that two runs do not use the same
    one. Secrets are those of the embedded AWS. Accelerators, keys, pipelines and certificates are left out, because
    only the board has them; the profile is left out, because it names credentials for the real AWS.
    """
    edge = workflow.edge
    streams = edge.streams
    if camera is not None:
        streams = tuple(_here(stream, camera, core) for stream in streams)
    agent = dataclasses.replace(edge.agent, socket=str(core.agent_socket), open=OpenAgent())
    return dataclasses.replace(
        workflow,
        aws=dataclasses.replace(workflow.aws, profile=None),
        edge=dataclasses.replace(edge, streams=streams, agent=agent),
    )


def _here(stream: Stream, camera: Camera, core: Core) -> Stream:
    stream = dataclasses.replace(stream, transport="tcp", backend="auto", pipeline=None, ca=None)
    if stream.credentials is None:
        return dataclasses.replace(stream, url=camera.url)
    secret = dataclasses.replace(stream.credentials, secret=core.secrets[stream.credentials.arn])
    return dataclasses.replace(stream, url=camera.locked_url, credentials=secret)


def use_embedded_credentials(cloud: Cloud) -> None:
    """Make this process's boto3 use the embedded AWS only, without any configuration for the real one."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        NO_AWS | past_proxies(os.environ),
        AWS_ENDPOINT_URL=cloud.endpoint_url,
        AWS_ACCESS_KEY_ID=cloud.access.key.id,
        AWS_SECRET_ACCESS_KEY=cloud.access.key.secret,
    )
