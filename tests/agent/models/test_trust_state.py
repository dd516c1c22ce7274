"""What the agent remembers: the newest time, against wrong clocks, and floors, against older versions."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.errors import CannotLoad, CannotStart
from emflow_agent.models.integrity import TrustedKeys, read_trusted_keys
from emflow_agent.models.loading import load_folder
from emflow_agent.models.store import ModelStore
from emflow_agent.models.trust_state import EARLIEST, STATE, TrustState, default_folder
from emflow_agent.runtimes import RuntimeOptions
from emflow_agent.settings.config import Layer, read
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.trust import confirm_model
from emflow_schema.model_manifest import ModelManifest
from signed_packages import new_key, public_pem, sign_folder

KEY = new_key()


def trusting(state: TrustState) -> TrustedKeys:
    return read_trusted_keys("TrustKeys", [public_pem(KEY)], state=state)


def written(state: Path) -> Any:
    return json.loads((state / STATE).read_text())


def load(folder: Path, state: TrustState, **manifest: Any) -> None:
    sign_folder(folder, KEY, **manifest)
    load_folder(str(folder), RuntimeOptions(), trusting(state), probe=False, name="scenes")


def model(version: str, floor: str = "", lowers: str = "") -> ModelManifest:
    return ModelManifest("scenes", version, None, None, floor, lowers)


def test_the_newest_time_is_stored_and_never_goes_back(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "state"
    load(folder, TrustState(place))
    stored = datetime.strptime(written(place)["newestTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert abs(datetime.now(timezone.utc) - stored) < timedelta(minutes=5)
    assert (place / STATE).stat().st_mode & 0o077 == 0
    future = {"format": 1, "newestTime": "2999-01-01T00:00:00Z", "floors": {}}
    (place / STATE).write_text(json.dumps(future))
    load(folder, TrustState(place))
    assert written(place) == future


def test_a_clock_older_than_the_newest_time_is_a_warning_and_no_refusal(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CannotLoad, match="expired at 2026-01-01"):
        load(folder, TrustState(tmp_path), notAfter="2026-01-01T00:00:00Z")
    (tmp_path / STATE).write_text(json.dumps({"format": 1, "newestTime": "2999-01-01T00:00:00Z", "floors": {}}))
    load(folder, TrustState(tmp_path), notAfter="2026-01-01T00:00:00Z")
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "whether scenes 1.2.0 and its key are in their time was not checked: the clock is wrong" in warning
    assert "the newest time that was seen is 2999-01-01T00:00:00Z" in warning


def test_a_clock_from_before_this_software_is_wrong_without_any_state() -> None:
    assert TrustState().clock().newest == EARLIEST


def test_the_floor_counts_only_when_the_model_is_confirmed_and_survives_restarts(folder: Path, tmp_path: Path) -> None:
    state = TrustState(tmp_path)
    load(folder, state, version="2.0.0", floor="1.5.0")
    load(folder, state, version="1.0.0")  # not confirmed: going back is free
    assert state.confirm(model("2.0.0", "1.5.0")) == "1.5.0"
    again = TrustState(tmp_path)
    with pytest.raises(CannotLoad, match=r"version 1\.0\.0 of scenes is below this device's floor 1\.5\.0"):
        load(folder, again, version="1.0.0")
    for version in ("1.5.0", "3.0.0", "1.6.0-rc.1", "2.0.0", "1.5.0"):  # back and forth, offline
        load(folder, again, version=version, floor="1.0.0")


def test_a_floor_never_falls_by_itself(tmp_path: Path) -> None:
    state = TrustState(tmp_path)
    assert state.confirm(model("1.0.0")) == ""
    assert state.confirm(model("2.0.0", "1.5.0")) == "1.5.0"
    assert state.confirm(model("2.1.0", "1.0.0")) == "1.5.0"
    assert state.confirm(model("2.1.0")) == "1.5.0"
    assert state.confirm(model("3.0.0", "3.0.0")) == "3.0.0"
    assert written(tmp_path)["floors"] == {"scenes": "3.0.0"}


def test_models_have_their_own_floors(tmp_path: Path) -> None:
    state = TrustState(tmp_path)
    state.confirm(model("2.0.0", "2.0.0"))
    state.check_floor(ModelManifest("others", "1.0.0"))
    with pytest.raises(CannotLoad, match="below this device's floor"):
        state.check_floor(model("1.0.0"))


def test_a_signed_statement_lowers_the_floor_and_not_one_that_is_higher(tmp_path: Path) -> None:
    state = TrustState(tmp_path)
    state.confirm(model("2.0.0", "2.0.0"))
    lowering = model("1.1.0", "1.0.0", lowers="2.0.0")
    state.check_floor(lowering)
    with pytest.raises(CannotLoad, match=r"floor 2\.0\.0"):  # until it is confirmed
        state.check_floor(model("1.0.0"))
    assert state.confirm(lowering) == "1.0.0"
    state.check_floor(model("1.0.0"))
    state.confirm(model("2.1.0", "2.0.1"))
    with pytest.raises(
        CannotLoad, match=r"is below this device's floor 2\.0\.1; lower the floor with a package signed by"
    ):
        state.check_floor(lowering)
    assert state.confirm(lowering) == "2.0.1"


def test_an_application_confirms_a_model_over_the_socket(
    folder: Path, tmp_path: Path, refused: Callable[[Callable[[], object]], Any]
) -> None:
    state, socket = tmp_path / "state", tmp_path / "a.sock"
    service = AgentService(ModelStore(trust=trusting(TrustState(state))))
    with (
        serving(service, socket, clean_stale_socket=False, grace=5.0),
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        stub = AgentStub(channel)
        code, _ = refused(lambda: confirm_model(channel, "scenes"))
        assert code == grpc.StatusCode.NOT_FOUND
        sign_folder(folder, KEY, version="2.0.0", floor="1.5.0")
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes"))
        assert written(state)["floors"] == {}
        assert confirm_model(channel, "scenes") == "1.5.0"
        assert written(state)["floors"] == {"scenes": "1.5.0"}
        assert confirm_model(channel, "scenes") == "1.5.0"
        stub.UnLoadModel(m.UnLoadModelRequest(name="scenes"))
        sign_folder(folder, KEY, version="1.4.9")
        code, text = refused(lambda: stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes")))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "version 1.4.9 of scenes is below this device's floor 1.5.0" in text


def test_a_model_without_a_signature_is_confirmed_without_effect(
    stub: AgentStub, scenes: m.Model, tmp_path: Path
) -> None:
    with grpc.insecure_channel(f"unix:{tmp_path / 'a.sock'}") as channel:
        assert confirm_model(channel, "scenes") == ""


def test_two_agents_with_one_folder_lose_none_of_their_floors(tmp_path: Path) -> None:
    states = [TrustState(tmp_path) for _ in range(4)]

    def confirm(state: TrustState, first: int) -> None:
        for number in range(first, first + 10):
            state.confirm(ModelManifest(f"model-{number}", "2.0.0", None, None, "1.0.0"))

    threads = [threading.Thread(target=confirm, args=(state, 10 * place)) for place, state in enumerate(states)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written(tmp_path)["floors"]) == 40


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format": 2, "newestTime": "2026-01-01T00:00:00Z", "floors": {}}',
        b'{"format": 1, "newestTime": "soon", "floors": {}}',
        b'{"format": 1, "newestTime": "2026-01-01T00:00:00Z", "floors": {"scenes": "old"}}',
        b'{"format": 1, "newestTime": "2026-01-01T00:00:00Z", "floors": []}',
        b" " * (2 << 20),
    ],
)
def test_a_damaged_state_refuses_with_the_way_out(
    folder: Path, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(CannotLoad, match=f"{STATE} is damaged: .*; remove it, and the floors of this device's models"):
        load(folder, TrustState(tmp_path))
    TrustState(tmp_path).prepare()  # the agent starts: once the file is removed, packages are loaded again
    assert f"TrustState: {tmp_path / STATE} is damaged: " in caplog.text
    assert (tmp_path / STATE).read_bytes() == content


def test_a_place_where_nothing_can_be_kept_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match=r"TrustState: the folder .*file cannot be used: "):
        TrustState(tmp_path / "file").prepare()


def test_nothing_is_written_as_long_as_the_newest_time_does_not_grow(tmp_path: Path) -> None:
    """So a full disk, or one that is read only, is no matter at all then."""
    (tmp_path / STATE).write_text('{"format": 1, "newestTime": "2999-01-01T00:00:00Z", "floors": {}}')
    before = (tmp_path / STATE).stat()
    TrustState(tmp_path).note_time()
    TrustState(tmp_path).prepare()
    after = (tmp_path / STATE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_full_disk_keeps_no_good_model_from_running(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder in the place of the file cannot be replaced by one, whoever tries."""
    state = TrustState(tmp_path / "state")
    state.note_time()
    sign_folder(folder, KEY)
    (tmp_path / "state" / STATE).unlink()
    (tmp_path / "state").rmdir()
    (tmp_path / "state").symlink_to("/proc/self/nothing")
    load_folder(str(folder), RuntimeOptions(), trusting(state), probe=False, name="scenes")
    assert "the time is not remembered: " in caplog.text


def test_the_state_is_where_systemd_greengrass_or_the_user_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ipc = {"AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "/ipc.socket"}
    assert default_folder({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", **ipc}) == Path("/var/lib/a")
    assert default_folder({"XDG_STATE_HOME": "/s", **ipc}) == tmp_path
    assert default_folder({"XDG_STATE_HOME": "/s"}) == Path("/s/emflow")
    assert default_folder({}).name == "emflow"


def test_a_user_without_a_home_and_a_folder_that_is_gone_matter_only_with_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    for name in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    assert default_folder({}) == Path("/var/lib/emflow")
    monkeypatch.setenv("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", "/ipc.socket")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    layer = {"UnixSocketName": "/tmp/a.sock"}
    assert not read([Layer("here", layer)]).trust.keys
