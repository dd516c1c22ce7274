"""Uses of models check packages as LoadModel does, and know what their manifests say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from emflow_agent.calls.models_service import ModelsService
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.integrity import TrustedKeys, read_trusted_keys
from emflow_agent.models.store import ModelStore
from emflow_proto import messages as m
from emflow_proto import models
from emflow_proto.models import CompareRequest, DescribeRequest, ModelsStub, UseRequest
from emflow_proto.service import AgentStub
from emflow_proto.trust import confirm_model
from signed_packages import new_key, public_pem, sign_folder

KEY = new_key()

Refused = Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]


class Agent:
    """An agent with both of its services."""

    def __init__(self, opened: ExitStack, socket: Path, trust: TrustedKeys) -> None:
        store = ModelStore(threads=1, probe=False, trust=trust)
        service, uses = AgentService(store), ModelsService(store)
        opened.enter_context(serving(service, socket, False, grace=5.0, models_service=uses))
        self.channel = opened.enter_context(grpc.insecure_channel(f"unix:{socket}"))
        self.own, self.aws = ModelsStub(self.channel), AgentStub(self.channel)
        self.calls: list[Any] = []
        """Those of Use; each lasts as long as somebody holds it."""

    def use(self, folder: Path, name: str = "scenes", version: str = "") -> Any:
        """The answer to a use that has begun."""
        metadata = (("emflow-model-version", version),) if version else ()
        self.calls.append(self.own.Use(UseRequest(name=name, url=str(folder)), metadata=metadata))
        return next(self.calls[-1])

    def described(self) -> tuple[str, str]:
        """Name and version of the package of the loaded model."""
        model = self.own.Describe(DescribeRequest(name="scenes")).model
        return model.package_name, model.package_version

    def is_same(self, handle: int, folder: Path) -> bool:
        return bool(self.own.Compare(CompareRequest(handle=handle, url=str(folder))).same)


@pytest.fixture
def agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Agent]:
    """It trusts a key, unless the test says otherwise."""
    keys = [public_pem(KEY)] if getattr(request, "param", True) else []
    with ExitStack() as opened:
        yield Agent(opened, tmp_path / "a.sock", read_trusted_keys("TrustKeys", keys))


WITHOUT_KEYS = pytest.mark.parametrize("agent", [False], indirect=True, ids=["without keys"])


def test_a_use_is_refused_for_another_model_another_version_and_without_a_signature(
    agent: Agent, folder: Path, refused: Refused
) -> None:
    for name, version, reason in (
        ("others", "", "it is the package of model 'scenes', not of 'others'"),
        ("scenes", "1.3.0", "it is version 1.2.0 of scenes, not '1.3.0'"),
    ):
        sign_folder(folder, KEY)
        code, text = refused(lambda name=name, version=version: agent.use(folder, name, version))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert reason in text
    (folder / "model.sig").unlink()
    code, text = refused(lambda: agent.use(folder))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "the package is not signed" in text
    assert not agent.aws.ListModels(m.ListModelsRequest()).models


def test_a_use_of_a_loaded_model_checks_the_package_as_the_first_one_did(
    agent: Agent, folder: Path, refused: Refused
) -> None:
    (folder / "labels.txt").write_text("red circle\n")
    sign_folder(folder, KEY)
    first = agent.use(folder)
    second = agent.use(folder, version="1.2.0")
    assert (second.model.handle, second.loaded) == (first.model.handle, False)
    handle = first.model.handle
    assert agent.is_same(handle, folder)
    code, text = refused(lambda: agent.use(folder, version="1.3.0"))
    assert (code, "it is version 1.2.0 of scenes" in text) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    # The runtime does not read this file.
    (folder / "labels.txt").write_text("red square\n")
    for call in (lambda: agent.use(folder), lambda: agent.is_same(handle, folder)):
        code, text = refused(call)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "'labels.txt' differs from what was signed" in text


def test_the_same_files_in_a_package_of_another_version_are_another_model(agent: Agent, folder: Path) -> None:
    sign_folder(folder, KEY)
    first = agent.use(folder)
    assert agent.described() == ("scenes", "1.2.0")
    sign_folder(folder, KEY, version="1.3.0", floor="1.3.0")
    assert not agent.is_same(first.model.handle, folder)
    agent.own.Release(models.ReleaseRequest(use=first.use))
    second = agent.use(folder, version="1.3.0")
    assert second.loaded
    assert agent.described() == ("scenes", "1.3.0")
    assert confirm_model(agent.channel, "scenes") == "1.3.0"


def test_another_version_that_others_use_is_not_taken_for_this_one(
    agent: Agent, folder: Path, refused: Refused
) -> None:
    sign_folder(folder, KEY)
    agent.use(folder)
    sign_folder(folder, KEY, version="1.3.0")
    code, text = refused(lambda: agent.use(folder))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "is loaded from" in text


@WITHOUT_KEYS
def test_without_keys_a_manifest_is_told_and_its_floor_does_not_count(agent: Agent, folder: Path) -> None:
    sign_folder(folder, KEY, floor="1.2.0")
    agent.use(folder, name="scenes")
    assert agent.described() == ("scenes", "1.2.0")
    assert confirm_model(agent.channel, "scenes") == ""


@pytest.mark.parametrize("trusted", [True, False], ids=["with its key", "without keys"])
def test_the_package_of_an_edge_packaging_job_tells_its_name_and_version(
    folder: Path, tmp_path: Path, trusted: bool
) -> None:
    from emflow_emulator.aws.sagemaker.packaging import Signer

    files = {"scenes.tflite": (folder / "scenes.tflite").read_bytes()}
    signed = Signer().sign({"model_name": "Scenes_1", "model_version": "1.0"}, files)
    for name, content in signed.files.items():
        (folder / name).write_bytes(content)
    keys = [signed.certificate.decode()] if trusted else []
    with ExitStack() as opened:
        agent = Agent(opened, tmp_path / "a.sock", read_trusted_keys("TrustKeys", keys))
        agent.use(folder)
        assert agent.described() == ("Scenes_1", "1.0")
        assert confirm_model(agent.channel, "scenes") == ""
