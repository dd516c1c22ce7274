"""An RTSP 1.0 client (RFC 2326): from a camera's URL to the packets of its video, over TCP, TLS or UDP.

No library has the low latency that is needed: FFmpeg waits for the next frame to know that one is complete, and the
RTSP packages for Python deliver no complete pictures, or do not support UDP or TLS.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
import threading
import time
from collections import Counter

from emflow_edge.rtsp import rtcp, rtp, sdp
from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.connection import RtspConnection
from emflow_edge.rtsp.description import Description, describe, explained
from emflow_edge.rtsp.errors import CameraLost, UnsupportedCodec
from emflow_edge.rtsp.first_guess import FirstGuess
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, small_integer
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_edge.rtsp.udp import UdpPortPair
from emflow_schema.stream_url import Place

# Default session timeout (RFC 2326, section 12.37), and the maximum interval of keep-alive requests.
_SESSION_SECONDS, _MOST_SILENT = 60, 30.0
_REPORT_SECONDS = 5.0
# What the payload types of RTCP look like in an RTP header (RFC 5761, section 4).
_CONTROL = range(64, 96)
# Maximum seconds between two checks for stop.
_LOOK = 0.25


class RtspSession:
    """An RTSP session in the state PLAY.

    Args:
        place: the parts of its URL.
        udp: RTP as UDP packets; else inside the RTSP connection.
        credentials: user and password; empty where there are none.
        context: what to trust, for `rtsps`.
        timeout: seconds in which it has to play.
        stop: ends all waiting.
        notice: reports what the camera does otherwise than it announced, or than the protocols say.

    Raises:
        CameraLost: it does not play; CameraRefused: nor will it, as things are; UnsupportedCodec: it has no H.264 and
            no H.265.
    """

    def __init__(
        self,
        place: Place,
        udp: bool,
        credentials: tuple[str, str],
        context: ssl.SSLContext | None,
        timeout: float,
        stop: threading.Event,
        notice: Notice = no_notice,
    ) -> None:
        self._udp, self._stop, self._notice = udp, stop, notice
        self._deadline = time.monotonic() + timeout
        self._datagrams: UdpPortPair | None = None
        self._connection: RtspConnection | None = None
        self._patience, self._public, self._aggregate = float(_SESSION_SECONDS), "", ""
        self._reorder = rtp.ReorderBuffer()
        # What came since the time that `receive` counts from, by what it is called.
        self._came: Counter[str] = Counter()
        self._since = 0.0
        described = describe(place, OriginCredentials(place, *credentials), context, timeout, stop, notice)
        self._connection = described.connection
        try:
            with explained():
                self._play(described)
        except BaseException:
            self.close()
            raise

    def _play(self, described: Description) -> None:
        connection = described.connection
        connection.deadline = self._deadline
        self._public = described.methods
        video = sdp.find_video(described.body.decode("utf-8", "replace"))
        if video is None:
            raise CameraLost("has no video in its description")
        if video.codec not in ("H264", "H265"):
            raise UnsupportedCodec(f"sends {video.codec or 'an unnamed codec'}")
        self.video = video
        self._payload_type = FirstGuess(video.payload_type)
        self._base = described.base
        self._aggregate = sdp.control_url(self._base, video.session)
        self._set_up(connection)
        connection.ask("PLAY", self._aggregate, [("Range", "npt=0.000-")])
        self.clock = rtcp.CameraClock(video.rate)
        self._reception = rtcp.ReceptionStatistics(secrets.randbits(32), video.rate)
        self._kept = self._told = time.monotonic()

    def _set_up(self, connection: RtspConnection) -> None:
        wire = connection.wire
        if self._udp:
            self._datagrams = UdpPortPair(wire.family, wire.here, wire.peer)
            offer = f"RTP/AVP;unicast;client_port={self._datagrams.ports}"
        else:
            offer = "RTP/AVP/TCP;unicast;interleaved=0-1"
        head, _ = connection.ask("SETUP", sdp.control_url(self._base, self.video.control), [("Transport", offer)])
        session, *parameters = head.get("session").split(";")
        connection.session = session.strip()
        for name, _, value in (one.strip().partition("=") for one in parameters):
            seconds = small_integer(value) if name.lower() == "timeout" else None
            if seconds is not None:
                self._patience = float(min(max(seconds, 2), 3600))
        transport = dict(one.strip().partition("=")[::2] for one in head.get("transport").split(";"))
        channel = small_integer(transport.get("interleaved", "0-1").partition("-")[0])
        self._channel = FirstGuess(channel if channel is not None and channel < 255 else 0)
        if self._datagrams:
            if "TCP" in head.get("transport").upper().split(";")[0]:
                self._notice("answers UDP with TCP; its video is read over the RTSP connection")
                self._datagrams.close()
                self._datagrams = None
                return
            first, second = map(small_integer, transport.get("server_port", "").partition("-")[::2])
            if first is not None:
                self._datagrams.open_path(first, first + 1 if second is None else second)

    def receive(self, timeout: float, since: float | None = None) -> list[tuple[rtp.RtpPacket, float]]:
        """The next video packets, in order, each with the monotonic time at which it came: all that are there.

        Args:
            timeout: seconds without what is awaited, after which the camera is lost, whatever else it sends.
            since: monotonic time from which they count, of a caller that needs several packets; None is now.

        Raises:
            CameraLost: none came until then, or the camera ended it.
        """
        connection = self._connection
        assert connection is not None
        since = time.monotonic() if since is None else since
        connection.deadline = since + timeout
        if since != self._since:
            self._since = since
            self._came.clear()
        try:
            # Looked at before what has come, which may never end.
            while time.monotonic() < connection.deadline and not self._stop.is_set():
                self._do_duties(connection)
                if self._datagrams:
                    packets = self._from_network(connection, self._datagrams)
                else:
                    packets = self._from_connection(connection, time.monotonic())
                if packets:
                    self._came["packets of video"] += len(packets)
                    return packets
                if self._datagrams is None:
                    connection.wire.fill(connection.deadline)
            raise TimeoutError
        except TimeoutError as error:
            if not self._came:
                raise CameraLost(f"sent nothing for {timeout:g} s") from error
            came = " and ".join(f"{count} {what}" for what, count in self._came.items())
            raise CameraLost(f"sent no complete picture for {timeout:g} s, but {came}") from error
        except MalformedMessage as error:
            raise CameraLost(f"sends {error}") from error

    def _from_connection(self, connection: RtspConnection, now: float) -> list[tuple[rtp.RtpPacket, float]]:
        """What of the buffer is video; what is not is dealt with."""
        packets: list[tuple[rtp.RtpPacket, float]] = []
        while (found := connection.take()) is not None:
            if isinstance(found, tuple):
                self._message(connection, found[0])
                continue
            one = rtp.parse_packet(found[1:])
            if one is not None and self._is_on_our_channel(found[0], one, now):
                self._reception.packet(one.ssrc, one.sequence, one.stamp, now)
                packets += self._video(one, now)
            elif found[0] == self._channel.value + 1:
                self._control(found[1:], now)
            else:
                self._came["packets on other channels"] += 1
        return packets

    def _is_on_our_channel(self, channel: int, one: rtp.RtpPacket, now: float) -> bool:
        """Whether a packet is on the video's channel: the one in `Transport`, or another where none comes there."""
        if channel != self._channel.value and one.payload_type != self._payload_type.value:
            return False
        before = self._channel.given_up
        found = self._channel.accepts(channel, now)
        if self._channel.given_up and not before:
            self._notice(f"sends its video on channel {channel}, not on the one in Transport; it is read from there")
        return found

    def _video(self, one: rtp.RtpPacket, now: float) -> list[tuple[rtp.RtpPacket, float]]:
        """The packet as one of the video, if it is: with the payload type of the SDP, or another where that never
        comes."""
        before = self._payload_type.given_up
        is_control = one.payload_type in _CONTROL and one.payload_type != self.video.payload_type
        if is_control or not self._payload_type.accepts(one.payload_type, now):
            self._came["packets of other payload types"] += 1
            return []
        if not self._payload_type.given_up:
            return [(one, now)]
        if not before:
            self._notice(f"sends its video as payload type {one.payload_type}, not as its description says")
        return [(one._replace(payload_type=self.video.payload_type), now)]

    def _from_network(self, connection: RtspConnection, datagrams: UdpPortPair) -> list[tuple[rtp.RtpPacket, float]]:
        """What came as UDP packets, put in order; and what came over the connection beside them."""
        if datagrams.wait(connection.wire.fileno(), min(connection.deadline, time.monotonic() + _LOOK)):
            connection.wire.fill_without_waiting()
        now = time.monotonic()
        packets = self._from_connection(connection, now)
        for data in datagrams.control():
            self._control(data, now)
        for data in datagrams.video():
            one = rtp.parse_packet(data)
            for video, _ in self._video(one, now) if one is not None else ():
                self._reception.packet(video.ssrc, video.sequence, video.stamp, now)
                packets += self._reorder.push(video, now)
        return packets

    def _control(self, data: bytes, now: float) -> None:
        self._came["reports (RTCP)"] += 1
        report, bye = rtcp.parse_compound(data)
        if report is not None:
            self.clock.report(report)
            self._reception.sender(report, now)
        if bye:
            raise CameraLost("ended the stream")

    def _message(self, connection: RtspConnection, head: MessageHead) -> None:
        """An answer to a keep-alive, or a request of the camera."""
        self._came["messages"] += 1
        if head.first[0] in ("REDIRECT", "TEARDOWN"):
            raise CameraLost("ended the stream")
        if not head.status:
            connection.reply(head)
        elif head.status == 401:
            # The nonce is old. The next keep-alive answers the new one, and is due at once.
            connection.accept_challenge(head)
            self._kept -= self._patience / 4
        elif head.status == 454:
            raise CameraLost("forgot the session (454)")

    def _do_duties(self, connection: RtspConnection) -> None:
        """Tell the camera that we are still here: reports every few seconds, a request where the session needs one."""
        now = time.monotonic()
        if now - self._told > _REPORT_SECONDS:
            self._told = now
            data = self._reception.compound()
            if self._datagrams:
                self._datagrams.report(data)
            else:
                connection.send_packet(self._channel.value + 1, data)
        if now - self._kept > min(self._patience / 2, _MOST_SILENT):
            self._kept = now
            connection.send("GET_PARAMETER" if "GET_PARAMETER" in self._public else "OPTIONS", self._aggregate)

    def close(self) -> None:
        """Say goodbye, without waiting for an answer."""
        connection = self._connection
        if connection is not None:
            if connection.session:
                connection.deadline = time.monotonic() + 0.1
                with contextlib.suppress(CameraLost, TimeoutError, MalformedMessage):
                    connection.send("TEARDOWN", self._aggregate)
            connection.wire.close()
        if self._datagrams is not None:
            self._datagrams.close()
