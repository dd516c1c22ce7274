"""A camera for the benchmarks: an RTSP server that plays a clip encoded beforehand, so that encoding disturbs nothing.

Each frame has its number in it as a barcode, and frame n is sent when n frame times have passed since an agreed moment;
so a frame carries the wall-clock time at which it was sent, as if it had been written into it. A client that reads too
slowly is not waited for: it is cut off. Used by `frame_age.py`, `reconnect.py` and `decode_cpu.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

BITS, BLOCK = 12, 16
CLIP_SECONDS = 20
_PACKET = 1400


def draw(number: int, width: int, height: int, texture: np.ndarray) -> np.ndarray:
    """A textured picture that moves; along its top a white and a black block, then its number, white for ones."""
    picture = np.roll(texture, (number * 2, number * 3), axis=(0, 1))
    cv2.circle(picture, (width // 2 + (number * 7) % 200, height // 2), height // 6, (40, 60, 220), -1)
    for place, bit in enumerate([1, 0, *(number >> bit & 1 for bit in range(BITS))]):
        picture[:BLOCK, place * BLOCK : (place + 1) * BLOCK] = 235 if bit else 16
    return picture


def number_in(picture: np.ndarray) -> int:
    """The number in a picture, of one plane or three; -1 when there is none."""
    row = picture[BLOCK // 2, BLOCK // 2 : BLOCK * (BITS + 2) : BLOCK]
    bits = (row if row.ndim == 1 else row[:, 1]) > 128
    if not bits[0] or bits[1]:
        return -1
    return int(sum(1 << place for place, bit in enumerate(bits[2:]) if bit))


def sent(number: int, began: float, rate: int, now: float) -> float:
    """When the last frame of this number was sent. began: Unix time of frame 0; now: at which it was seen."""
    length = CLIP_SECONDS
    behind = (now - began - number / rate) % length
    return now - behind


def encode(width: int, height: int, rate: int, keys: int) -> list[tuple[bool, list[bytes]]]:
    """The clip: for each frame whether it is a key frame, and its RTP payloads."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(60, 190, (height // 24, width // 24, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    texture = cv2.add(texture, rng.integers(0, 5, (height, width, 3), dtype=np.uint8))
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.framerate = width, height, "yuv420p", Fraction(rate)
    context.time_base = Fraction(1, rate)
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "b": "4M",
        "maxrate": "4M",
        "bufsize": "4M",
        "x264-params": f"keyint={keys}:min-keyint={keys}:scenecut=0:repeat-headers=1:annexb=1:sliced-threads=0",
    }
    frames = []
    for number in range(CLIP_SECONDS * rate):
        frame = av.VideoFrame.from_ndarray(draw(number, width, height, texture), format="bgr24").reformat(
            format="yuv420p"
        )
        frame.pts = number
        frames += [(bool(packet.is_keyframe), payloads(bytes(packet))) for packet in context.encode(frame)]
    frames += [(bool(packet.is_keyframe), payloads(bytes(packet))) for packet in context.encode(None)]
    return frames


def payloads(data: bytes) -> list[bytes]:
    """RFC 6184: NAL units as they are, or in fragments of a packet's size."""
    found = []
    for piece in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1"):
        if not piece:
            continue
        if len(piece) <= _PACKET:
            found.append(piece)
            continue
        head, pieces = piece[0], [piece[at : at + _PACKET] for at in range(1, len(piece), _PACKET)]
        for place, one in enumerate(pieces):
            flags = (0x80 if place == 0 else 0) | (0x40 if place == len(pieces) - 1 else 0)
            found.append(bytes([head & 0xE0 | 28, flags | head & 31]) + one)
    return found


class Client(threading.Thread):
    """One client: its requests answered, and frames from the next key frame on."""

    def __init__(self, client: socket.socket, clip: list[tuple[bool, list[bytes]]], began: float, rate: int) -> None:
        super().__init__(daemon=True)
        self.client, self.clip, self.began, self.rate = client, clip, began, rate
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        with contextlib.suppress(OSError), self.client:
            buffer = b""
            while data := self.client.recv(4096):
                buffer += data
                while b"\r\n\r\n" in buffer:
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    if self.answer(head.decode("latin-1")):
                        threading.Thread(target=self.play, daemon=True).start()

    def answer(self, head: str) -> bool:
        # Receiver reports may stand before it.
        found = re.search(r"([A-Z_]+) (\S+) RTSP/1.0", head)
        assert found
        method, url = found.groups()
        lines = [line for line in head.split("\r\n") if line.lower().startswith("cseq")]
        body = ""
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=clip\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            lines += [f"Content-Base: {url}/", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1;timeout=60"]
        else:
            lines.append("Session: 1")
        self.client.sendall("\r\n".join(["RTSP/1.0 200 OK", *lines, "", body]).encode())
        return method == "PLAY"

    def play(self) -> None:
        number = int((time.time() - self.began) * self.rate) + 1
        sequence, playing = 0, False
        # A buffer of a second or two; who lets it fill up is cut off by the timeout.
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 2, 0))
        with contextlib.suppress(OSError):
            while True:
                time.sleep(max(0.0, self.began + number / self.rate - time.time()))
                # After a stop, from now on, as a camera does.
                number = max(number, int((time.time() - self.began) * self.rate))
                key, parts = self.clip[number % len(self.clip)]
                playing = playing or key
                if playing:
                    out = []
                    for place, part in enumerate(parts):
                        marker = 0x80 if place == len(parts) - 1 else 0
                        stamp = number * (90000 // self.rate) & 0xFFFFFFFF
                        out.append(
                            struct.pack("!BBHBBHII", 36, 0, len(part) + 12, 128, 96 | marker, sequence, stamp, 7) + part
                        )
                        sequence = (sequence + 1) & 0xFFFF
                    self.client.sendall(b"".join(out))
                number += 1


def serve(options: argparse.Namespace) -> None:
    width, height = (int(side) for side in options.size.split("x"))
    clip = load(options.clip) if options.clip else encode(width, height, options.rate, options.keys)
    listener = socket.create_server(("127.0.0.1", options.port))
    began = options.began or time.time()
    print(listener.getsockname()[1], began, time.time(), flush=True)
    while True:
        client, _ = listener.accept()
        Client(client, clip, began, options.rate).start()


def load(path: Path) -> list[tuple[bool, list[bytes]]]:
    """A clip that was encoded into a file; a camera that is restarted is there at once then."""
    data, frames, at = path.read_bytes(), [], 0
    while at < len(data):
        key, count = struct.unpack_from("!BI", data, at)
        at += 5
        parts = []
        for _ in range(count):
            (size,) = struct.unpack_from("!I", data, at)
            parts.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        frames.append((bool(key), parts))
    return frames


def save(path: Path, frames: list[tuple[bool, list[bytes]]]) -> None:
    with path.open("wb") as sink:
        for key, parts in frames:
            sink.write(struct.pack("!BI", key, len(parts)))
            for part in parts:
                sink.write(struct.pack("!I", len(part)) + part)


class ClipCamera:
    """The camera as a process: started, killed, stopped, started again on the same port with the same clock."""

    def __init__(self, folder: Path, size: str, rate: int, keys: int) -> None:
        self.rate = rate
        self._clip = folder / f"{size}-{rate}-{keys}.clip"
        width, height = (int(side) for side in size.split("x"))
        if not self._clip.exists():
            save(self._clip, encode(width, height, rate, keys))
        self.port, self.began = 0, 0.0

    def start(self) -> float:
        """Start it; the Unix time at which it listened."""
        self.process = subprocess.Popen(
            [
                *(sys.executable, __file__, "--clip", str(self._clip), "--rate", str(self.rate)),
                *("--port", str(self.port), "--began", repr(self.began)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        port, began, listened = self.process.stdout.readline().split()
        self.port, self.began = int(port), float(began)
        return float(listened)

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/clip"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def clip_camera(folder: Path, size: str, rate: int, keys: int) -> Iterator[ClipCamera]:
    """A camera that plays for as long as the block lasts."""
    camera = ClipCamera(folder, size, rate, keys)
    camera.start()
    try:
        yield camera
    finally:
        camera.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--keys", type=int, default=30)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--began", type=float, default=0.0)
    serve(parser.parse_args())
