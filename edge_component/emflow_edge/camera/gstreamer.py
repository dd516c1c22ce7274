"""GStreamer pipelines through OpenCV: hardware decoders of i.MX boards, or any other source."""

from __future__ import annotations

import threading

from emflow_edge.camera.http_relay import HttpRelay
from emflow_edge.camera.opencv_camera import OpencvCamera, environment, parameters
from emflow_edge.camera.relay import HOST
from emflow_edge.camera.rtsp_opencv import needs_relay, plain_url
from emflow_edge.camera.rtsp_relay import RtspRelay
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.buffered_socket import connect
from emflow_edge.rtsp.errors import CameraRefused
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import HTTP, RTSP

# Timeouts are in microseconds. Waiting frames are dropped, so that the newest one is delivered.
_SOURCE = (
    "rtspsrc location={url} protocols={transport} latency=0 drop-on-latency=true"
    " timeout={timeout} tcp-timeout={timeout}"
)
_SINK = "appsink max-buffers=1 drop=true sync=false"
_BGR = f"videoconvert ! video/x-raw,format=BGR ! {_SINK}"
# The VPU decodes, the 2D engine converts to BGRx; the CPU drops the fourth byte, because there is no packed BGR.
_IMX = f"imxvideoconvert_g2d ! video/x-raw,format=BGRx ! {_BGR}"
PIPELINES = {
    "imx8mp": f"{_SOURCE} ! rtph264depay ! h264parse ! v4l2h264dec ! {_IMX}",
    "imx8mp-h265": f"{_SOURCE} ! rtph265depay ! h265parse ! v4l2h265dec ! {_IMX}",
    # The decoder with the highest rank on this machine.
    "decodebin": f"{_SOURCE} ! decodebin ! {_BGR}",
}


def text(stream: Stream, relay: RtspRelay | HttpRelay | None = None) -> str:
    """The pipeline, ready to run.

    relay: through which it reads the camera. Without one, its address is as the configuration has it.
    """
    pipeline = _template(stream)
    transport = stream.transport
    if relay is not None:
        url, transport = relay.url, relay.transport if isinstance(relay, RtspRelay) else transport
    else:
        url = plain_url(stream.place) if stream.scheme in RTSP else stream.url
    values = {"url": url, "transport": transport, "timeout": str(int(stream.read_timeout.seconds * 1e6))}
    for name, value in values.items():
        pipeline = pipeline.replace(f"{{{name}}}", value)
    return pipeline if "appsink" in pipeline else f"{pipeline} ! {_BGR}"


def _template(stream: Stream) -> str:
    return PIPELINES.get(stream.pipeline or "decodebin") or stream.pipeline or ""


def open_pipeline(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice = no_notice
) -> OpencvCamera:
    """Run a stream's pipeline.

    Raises:
        CameraLost: it gives no frames; CameraRefused if this OpenCV has no GStreamer.
    """
    if not available():
        raise CameraRefused(
            "cannot be opened: this OpenCV was built without GStreamer (as from pip; board images and Debian's"
            " python3-opencv have it)"
        )

    def opened() -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture()
        wanted = parameters(
            OPEN_TIMEOUT_MSEC=stream.open_timeout.seconds * 1000, READ_TIMEOUT_MSEC=stream.read_timeout.seconds * 1000
        )
        try:
            found = capture.open(pipeline, cv2.CAP_GSTREAMER, wanted)
        except cv2.error:
            found = False
        # The backend supports timeouts since 4.9; older versions refuse unknown parameters.
        return capture if found or capture.open(pipeline, cv2.CAP_GSTREAMER) else None

    def opened_without_proxies() -> cv2.VideoCapture | None:
        # A proxy on another machine cannot reach the relay, and is not to know its path.
        with environment("http_proxy", ""), environment("no_proxy", HOST):
            return opened()

    relay = _relay(stream, credentials, stop, notice)
    pipeline = text(stream, relay)
    refusal = "gives no video: the pipeline does not run (try it with gst-launch-1.0)"
    return OpencvCamera(stream, opened if relay is None else opened_without_proxies, refusal, relay=relay)


def _relay(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice
) -> RtspRelay | HttpRelay | None:
    """A relay, where the pipeline would have to be given user and password, or reads a camera whose certificate it does
    not verify.

    Raises:
        CameraLost: the camera cannot be reached, or refuses us.
    """
    named = "{url}" in _template(stream)
    if stream.scheme in RTSP:
        if named and needs_relay(stream, credentials):
            return RtspRelay(stream, credentials, stop, notice)
        place = stream.place
        # Whether it is there at all; a host that is off would hold GStreamer for its whole timeout.
        connect(place.host, place.port, stream.open_timeout.seconds, stop).close()
    elif stream.scheme in HTTP and named and any(credentials):
        return HttpRelay(stream, credentials, notice)
    return None


def available() -> bool:
    """Whether this OpenCV was built with GStreamer."""
    registry = getattr(cv2, "videoio_registry", None)
    if registry is not None and hasattr(registry, "hasBackend"):
        return bool(registry.hasBackend(cv2.CAP_GSTREAMER))
    # OpenCV before 4.5.2 has no such function.
    return "GStreamer:                   YES" in cv2.getBuildInformation()
