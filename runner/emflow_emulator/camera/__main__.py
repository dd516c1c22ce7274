"""The test camera: sends scenes in a fixed order, or one picture, over RTSP on this machine, without end.

Start it alone with `python -m emflow_emulator.camera --port 8554` and watch it with any player.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from emflow.problems import Problem
from emflow_emulator import child
from emflow_emulator.camera import scenes
from emflow_emulator.camera.encoder import Burst, Picture, Stream, parameter_sets
from emflow_emulator.camera.rtsp_messages import Login, read_login, session_description
from emflow_emulator.camera.rtsp_server import RtspServer

HOST = "127.0.0.1"
_LONGEST = 1280


@dataclass(frozen=True)
class Scenes:
    """The scenes of `emflow_emulator.camera.scenes`, one after the other, `dwell` seconds each, by the wall clock."""

    dwell: float
    width: int
    height: int

    def at(self, unix_time: float) -> npt.NDArray[np.uint8]:
        scene = scenes.shown_at(unix_time, self.dwell)
        return scenes.moving(scene, unix_time, self.width, self.height, self.dwell)


@dataclass(frozen=True)
class Still:
    """One picture that does not change."""

    pixels: npt.NDArray[np.uint8]

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def at(self, unix_time: float) -> npt.NDArray[np.uint8]:  # noqa: ARG002 the picture is always the same
        return self.pixels


def read_still(path: Path) -> Still:
    """Read a PNG or JPEG file; it is resized to even numbers of pixels, at most 1280 on its longer side.

    Raises:
        Problem: the file does not exist, or is not a picture.
    """
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
    except FileNotFoundError as error:
        raise Problem(f"there is no picture {path}", mend="Give the path of a PNG or JPEG file.") from error
    except (OSError, ValueError, IndexError, StopIteration, av.FFmpegError) as error:
        raise Problem(f"{path} cannot be read as a picture", mend="Give the path of a PNG or JPEG file.") from error
    assert isinstance(frame, VideoFrame)
    scale = min(1.0, _LONGEST / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height))
    pixels = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
    return Still(pixels.astype(np.uint8, copy=False))


@contextlib.asynccontextmanager
async def showing(picture: Picture, rate: int, name: str, port: int, login: Login | None = None) -> AsyncIterator[str]:
    """A context manager that shows `picture`, `rate` frames per second, while its block runs; yields the stream's URL.

    Args:
        port: TCP port; 0 picks a free one.
        login: the only user that may see it; None: everybody.

    Raises:
        Problem: the port is taken, or this PyAV cannot encode H.264.
    """
    sps, pps = parameter_sets(picture.width, picture.height, rate)
    server = RtspServer(f"/{name}", session_description(name, rate, sps, pps), HOST, login)
    try:
        await server.start(port)
    except OSError as error:
        raise _cannot_listen(port, error) from error
    loop = asyncio.get_running_loop()

    def deliver(burst: Burst) -> None:
        loop.call_soon_threadsafe(server.deliver, burst)

    stream = Stream(picture, rate, deliver)
    server.attach(stream)
    try:
        yield f"rtsp://{HOST}:{server.port}/{name}"
    finally:
        # The stream is closed first, so that nothing is delivered to closed sockets.
        await asyncio.to_thread(stream.close)
        await server.stop()


def _cannot_listen(port: int, error: OSError) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem(f"port {port} is taken", mend="Choose another with --port; 0 picks a free one.")
    return Problem(f"cannot listen on port {port}: {error.strerror}", mend="Choose another with --port.")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    width, height = options.size
    try:
        picture: Picture = read_still(options.image) if options.image else Scenes(options.dwell, width, height)
        facts = {"dwell": options.dwell, "scenes": [] if options.image else list(scenes.SCENES)}
        login = read_login(options.login) if options.login else None
        asyncio.run(_until_stopped(showing(picture, options.fps, options.name, options.port, login), facts))
    except Problem as problem:
        return child.fail(problem)
    return 0


async def _until_stopped(show: AbstractAsyncContextManager[str], facts: dict[str, object]) -> None:
    stop = child.stop_event()
    async with show as url:
        child.announce(url=url, **facts)
        await asyncio.to_thread(stop.wait)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emflow_emulator.camera", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--port", type=_port, default=0, help="TCP port; 0 picks a free one")
    parser.add_argument("--image", type=Path, help="show this PNG or JPEG file instead of the scenes")
    parser.add_argument(
        "--login", type=Path, metavar="FILE", help="JSON file with the username and password for clients"
    )
    parser.add_argument(
        "--dwell", type=_dwell, default=scenes.DWELL, help="seconds for which each scene is shown (%(default)s)"
    )
    parser.add_argument("--fps", type=_rate, default=25, help="frames per second (25)")
    parser.add_argument("--size", type=_size, default=(640, 480), help="width x height of the scenes (640x480)")
    parser.add_argument("--name", type=_name, default="front", help="the stream's name in its URL (front)")
    return parser


def _port(text: str) -> int:
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("0 to 65535")
    return int(text)


def _dwell(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("more than 0 seconds")
    return seconds


def _rate(text: str) -> int:
    if not 1 <= int(text) <= 120:
        raise argparse.ArgumentTypeError("1 to 120 frames per second")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    size = int(width), int(height)
    if any(side % 2 or not 32 <= side <= 3840 for side in size):
        raise argparse.ArgumentTypeError("two even numbers from 32 to 3840, such as 640x480")
    return size


def _name(text: str) -> str:
    if not text or not text.replace("-", "").replace("_", "").isalnum() or not text.isascii():
        raise argparse.ArgumentTypeError("letters, digits, - and _")
    return text


if __name__ == "__main__":
    sys.exit(main())
