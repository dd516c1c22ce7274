"""The test camera as a client on the wire sees it: requests, packets, times."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import pytest

from emflow_emulator.camera import encoder as camera_stream
from emflow_emulator.camera import rtsp_server
from emflow_emulator.camera.__main__ import Scenes, showing
from emflow_emulator.camera.encoder import Encoder, Picture, nal_units
from emflow_emulator.camera.rtsp_messages import BadRequest, Datagrams, Interleaved, choose_transport, parse_request
from support import PATIENCE, until

pytestmark = pytest.mark.e2e

RATE = 25
TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"
# From 1900 to 1970, in seconds: the two ages that NTP and Unix count from.
NTP_TO_UNIX = 2_208_988_800


@contextlib.contextmanager
def running(picture: Picture | None = None) -> Iterator[str]:
    """A camera in this process; gives its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, loop).result(PATIENCE)

    show = showing(picture or Scenes(2.0, 320, 240), RATE, "front", 0)
    try:
        url = wait(show.__aenter__())
        try:
            yield url
        finally:
            wait(show.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Client:
    """RTSP by hand, over one connection."""

    def __init__(self, url: str, receive_buffer: int = 0) -> None:
        self.url = url
        host, port = url.removeprefix("rtsp://").split("/")[0].split(":")
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((host, int(port)))
        self._file = self.socket.makefile("rb")
        self._numbers = itertools.count(1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, method: str, url: str = "", version: str = "RTSP/1.0", **headers: str) -> None:
        lines = [f"{method} {url or self.url} {version}", f"CSeq: {next(self._numbers)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name] = value
        return status, headers, self._file.read(int(headers.get("Content-Length", 0)))

    def ask(self, method: str, url: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
        self.send(method, url, **headers)
        return self.answer()

    def play(self, transport: str = TCP) -> str:
        status, headers, _ = self.ask("SETUP", f"{self.url}/trackID=0", Transport=transport)
        assert status == 200
        assert self.ask("PLAY", Session=headers["Session"].split(";")[0])[0] == 200
        return headers["Transport"]

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """Channel and packet, as they come on this connection."""
        while head := self._file.read(4):
            assert head[:1] == b"$"
            yield head[1], self._file.read(int.from_bytes(head[2:], "big"))


@dataclass(frozen=True)
class Rtp:
    marker: bool
    sequence: int
    timestamp: int
    payload: bytes

    @classmethod
    def read(cls, packet: bytes) -> Rtp:
        assert packet[0] == 0x80
        assert packet[1] & 0x7F == 96
        return cls(
            bool(packet[1] & 0x80),
            int.from_bytes(packet[2:4], "big"),
            int.from_bytes(packet[4:8], "big"),
            packet[12:],
        )


def test_a_session_goes_as_the_rfc_says() -> None:
    with running() as url, Client(url) as client:
        assert "DESCRIBE" in client.ask("OPTIONS")[1]["Public"]
        status, headers, body = client.ask("DESCRIBE", Accept="application/sdp")
        assert (status, headers["Content-Type"], headers["CSeq"]) == (200, "application/sdp", "2")
        assert headers["Content-Base"] == f"{url}/"
        assert b"m=video 0 RTP/AVP 96" in body
        assert b"H264/90000" in body
        # Constrained baseline, as the SPS says: what any decoder can do.
        assert b"profile-level-id=42C0" in body
        status, headers, _ = client.ask("SETUP", f"{url}/trackID=0", Transport=TCP)
        session = headers["Session"].split(";")[0]
        assert (status, headers["Transport"]) == (200, TCP)
        assert client.ask("GET_PARAMETER", Session=session)[0] == 200
        assert client.ask("PLAY", Session=session)[0] == 200
        assert next(client.packets())
        client.send("TEARDOWN", Session=session)
        assert b"RTSP/1.0 200 OK" in client._file.read()  # it ends, because the camera closes the connection


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("DESCRIBE", "/back", {}, 404),
        ("RECORD", "", {}, 501),
        ("PLAY", "", {}, 455),
        ("PLAY", "", {"Session": "somebodys"}, 454),
        ("SETUP", "", {"Transport": "RTP/AVP;multicast;client_port=5000-5001"}, 461),
        ("SETUP", "", {}, 461),
    ],
)
def test_what_it_cannot_do_it_refuses_and_goes_on(method: str, path: str, headers: dict[str, str], status: int) -> None:
    with running() as url, Client(url) as client:
        place = url.replace("/front", path) if path else url
        assert client.ask(method, place, **headers)[0] == status
        assert client.ask("OPTIONS")[0] == 200


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\xfd\r\n\r\n", b"A B C D\r\n\r\n", b"x" * 100_000]
)
def test_garbage_is_answered_with_400_and_the_camera_lives_on(garbage: bytes) -> None:
    with running() as url:
        with Client(url) as client, contextlib.suppress(ConnectionError):
            client.socket.sendall(garbage)
            assert client._file.read().startswith(b"RTSP/1.0 400 Bad Request")
        with Client(url) as client:
            assert client.ask("OPTIONS")[0] == 200


def test_each_client_starts_at_a_key_frame_with_parameter_sets_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a client that joins, there would be no other key frame for four minutes.
    options = camera_stream._x264_options
    monkeypatch.setattr(camera_stream, "_x264_options", lambda rate: options(240 * rate))
    with running() as url, Client(url) as first, Client(url) as second:
        for client in (first, second):
            asked = time.time()
            client.play()
            packets = client.packets()
            channel, report = next(packets)
            assert channel == 1
            assert report[1] == 200  # a sender report
            kinds: list[int] = []
            while 5 not in kinds:
                channel, packet = next(packets)
                assert channel == 0
                rtp = Rtp.read(packet)
                kinds += [nal[0] & 0x1F for nal in nal_units(rtp.payload)]
                if rtp.payload[0] & 0x1F == 28:  # a fragment
                    kinds.append(rtp.payload[1] & 0x1F)
            assert {7, 8} <= set(kinds)
            assert 1 not in kinds
            # A busy machine may be late with a frame, but its time is that for which it was planned.
            assert asked - 2 < taken_at(rtp, report) < time.time() + 0.1


def taken_at(rtp: Rtp, report: bytes) -> float:
    """Unix time of a frame, from the last sender report (RFC 3550, section 6.4.1)."""
    seconds, fraction, timestamp = (int.from_bytes(report[at : at + 4], "big") for at in (8, 12, 16))
    since = (rtp.timestamp - timestamp + 2**31) % 2**32 - 2**31
    return seconds - NTP_TO_UNIX + fraction / 2**32 + since / 90_000


@pytest.mark.alone
def test_frames_come_at_a_steady_rate_and_one_of_25_is_a_key_frame() -> None:
    with running() as url, Client(url) as client:
        client.play()
        arrivals, timestamps, sequences, keys = [], [], [], []
        for channel, packet in client.packets():
            if channel:
                continue
            rtp = Rtp.read(packet)
            sequences.append(rtp.sequence)
            if rtp.marker:
                arrivals.append(time.monotonic())
                timestamps.append(rtp.timestamp)
            if any(nal[0] & 0x1F == 7 for nal in nal_units(rtp.payload)):
                keys.append(len(arrivals))
            if len(arrivals) == 3 * RATE:
                break
    steps = {(after - before) % 2**16 for before, after in itertools.pairwise(sequences)}
    assert steps == {1}
    ticks = {(after - before) % 2**32 for before, after in itertools.pairwise(timestamps)}
    assert all(step % (90_000 // RATE) == 0 for step in ticks)
    # What arrived and what the stamps say do not drift apart. A busy machine may be late with many frames, but not all.
    stamps = [((stamp - timestamps[0]) % 2**32) / 90_000 for stamp in timestamps]
    late = [arrived - stamp for arrived, stamp in zip(arrivals, stamps, strict=True)]
    assert min(late[-RATE:]) == pytest.approx(min(late[:RATE]), abs=0.1)
    keys = sorted(set(keys))
    assert len(keys) >= 3
    assert max(after - before for before, after in itertools.pairwise(keys)) <= RATE


def test_over_udp_packets_come_from_the_ports_that_setup_named() -> None:
    with running() as url, Client(url) as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp:
        rtp.bind(("127.0.0.1", 0))
        rtp.settimeout(PATIENCE)
        port = rtp.getsockname()[1]
        transport = client.play(f"RTP/AVP;unicast;client_port={port}-{port ^ 1}")
        served = int(transport.split("server_port=")[1].split("-")[0])
        packet, address = rtp.recvfrom(65536)
        assert served % 2 == 0
        assert address == ("127.0.0.1", served)
        assert Rtp.read(packet).payload
        assert len(packet) <= 1400


def test_a_udp_client_that_says_nothing_for_long_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_server, "SESSION_TIMEOUT", 0.5)
    with running() as url, Client(url) as client:
        client.play("RTP/AVP;unicast;client_port=9-10")
        began = time.monotonic()
        assert client._file.read() == b""
        assert 0.3 < time.monotonic() - began < 30


class Noise:
    """As hard to encode as a picture can be."""

    width, height = 640, 480

    def __init__(self) -> None:
        self._pictures = np.random.default_rng(1).integers(0, 256, (4, 480, 640, 3), dtype=np.uint8)

    def at(self, unix_time: float) -> np.ndarray:
        return self._pictures[int(unix_time * RATE) % 4]


def test_a_client_that_does_not_read_is_skipped_and_gets_a_key_frame_when_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Small limits and much data, so that the system's own buffers fill up soon.
    monkeypatch.setattr(rtsp_server, "_SLOW_CLIENT_BYTES", 10_000)
    monkeypatch.setattr(camera_stream, "_KILOBITS_A_SECOND", 100_000)
    monkeypatch.setattr(camera_stream, "_KILOBITS_BUFFERED", 20_000)
    with running(Noise()) as url, Client(url, receive_buffer=4096) as client:
        client.play()
        until(lambda: "reads too slowly" in caplog.text)
        sequence = None
        for channel, packet in client.packets():
            if channel:
                continue
            rtp = Rtp.read(packet)
            if sequence is not None and rtp.sequence != (sequence + 1) % 2**16:
                assert 7 in [nal[0] & 0x1F for nal in nal_units(rtp.payload)], "it goes on in the middle of a picture"
                return
            sequence = rtp.sequence
    pytest.fail("nothing was left out")


class Clock:
    """A picture of the time: 20 bars, white or black, one a bit of the Unix time in milliseconds."""

    width, height = 640, 64
    BITS = 20

    def at(self, unix_time: float) -> np.ndarray:
        bits = [int(unix_time * 1000) >> bit & 1 for bit in range(self.BITS)]
        row = np.repeat(np.array(bits, np.uint8) * 255, self.width // self.BITS)
        return np.broadcast_to(row[None, :, None], (self.height, self.width, 3)).copy()

    @classmethod
    def age(cls, frame: np.ndarray, now: float) -> float:
        """Milliseconds since the picture was drawn."""
        bars = frame[cls.height // 2, :, 1].reshape(cls.BITS, -1).mean(axis=1) > 127
        shown = sum(1 << bit for bit, white in enumerate(bars) if white)
        return (now * 1000 - shown) % (1 << cls.BITS)


@pytest.mark.alone
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_frame_is_decoded_soon_after_it_was_drawn(transport: str) -> None:
    with (
        running(Clock()) as url,
        av.open(url, options={"rtsp_transport": transport, "flags": "low_delay"}, timeout=PATIENCE) as container,
    ):
        container.streams.video[0].thread_type = "NONE"
        # The first frames waited while the player was opening; on a busy machine, others wait too.
        ages: list[float] = []
        deadline = time.monotonic() + PATIENCE
        for frame in container.decode(video=0):
            ages.append(Clock.age(frame.to_ndarray(format="rgb24"), time.time()))
            if statistics.median(ages[-RATE:]) < 100 and len(ages) > 2 * RATE:
                return
            assert time.monotonic() < deadline, ages[-RATE:]
    pytest.fail("the camera has no more frames")


def test_a_new_encoder_needs_no_second_frame_for_its_first() -> None:
    encoder = Encoder(64, 48, RATE, time.time())
    bursts = [encoder.encode(np.full((48, 64, 3), 40 * n, np.uint8), n, key=n == 3) for n in range(5)]
    assert all(burst.packets for burst in bursts)
    assert [burst.key for burst in bursts] == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", Interleaved(2, 3)),
        ("RTP/AVP/TCP;unicast", Interleaved(0, 1)),
        ("RTP/AVP;unicast;client_port=5000-5001", Datagrams(5000, 5001)),
        ("RTP/AVP/UDP;unicast;client_port=5000", Datagrams(5000, 5001)),
        ("RTP/AVP;multicast, RTP/AVP/TCP;interleaved=0-1", Interleaved(0, 1)),
        ("RTP/SAVP;unicast;client_port=5000-5001", None),
        ("RTP/AVP;unicast", None),
        ("RTP/AVP/TCP;interleaved=0-256", None),
        ("RTP/AVP;unicast;client_port=5000-70000", None),
        ("RTP/AVP;unicast;client_port=a-b", None),
        ("", None),
    ],
)
def test_the_first_transport_that_it_can_do_is_taken(header: str, chosen: Any) -> None:
    assert choose_transport(header) == chosen


def test_a_request_is_read_with_its_headers_in_any_case() -> None:
    request = parse_request(b"PLAY rtsp://h:1/front/ RTSP/1.0\r\nCSEQ: 7\r\nsession: abc;timeout=60")
    assert (request.method, request.path, request.headers["cseq"], request.session) == ("PLAY", "/front", "7", "abc")


@pytest.mark.parametrize(
    "head", [b"", b"PLAY", b"PLAY / HTTP/1.1", b"PLAY / RTSP/1.0\r\nno colon", b"PLAY http://[ RTSP/1.0"]
)
def test_what_is_no_request_is_said_to_be_none(head: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_request(head)
