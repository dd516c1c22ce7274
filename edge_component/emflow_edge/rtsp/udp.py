"""The pair of UDP ports on which a camera's video (RTP) and its reports (RTCP) come in."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator

from emflow_edge.rtsp.errors import CameraLost

# Key frames come as one burst, which has to fit. The kernel gives at most net.core.rmem_max.
_BUFFER = 4 << 20
_LARGEST = 65536
# Packets that are read in one go: whoever sends faster than that keeps nothing else from being done.
_AT_ONCE = 4096


class UdpPortPair:
    """Two neighbouring ports, RTP's even and RTCP's odd (RFC 3550, section 11), which accept packets from the camera
    only.

    Args:
        family: of the addresses.
        here: this device's address.
        camera: the camera's address.

    Raises:
        CameraLost: no such pair is free.
    """

    def __init__(self, family: int, here: str, camera: str) -> None:
        self._camera = camera
        self._to = 0
        for _ in range(100):
            self._rtp = socket.socket(family, socket.SOCK_DGRAM)
            self._rtcp = socket.socket(family, socket.SOCK_DGRAM)
            try:
                self._rtp.bind((here, 0))
                port: int = self._rtp.getsockname()[1]
                if port % 2 == 0:
                    self._rtcp.bind((here, port + 1))
                    break
            except OSError:
                pass
            self.close()
        else:
            raise CameraLost("cannot be received: no pair of UDP ports is free")
        self.ports = f"{port}-{port + 1}"
        """As `client_port` has them."""
        for one in (self._rtp, self._rtcp):
            one.setblocking(False)
        self._rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)

    def open_path(self, rtp: int, rtcp: int) -> None:
        """Send a first packet to each of the camera's ports, so that a firewall lets its packets in."""
        self._to = rtcp
        for one, port in ((self._rtp, rtp), (self._rtcp, rtcp)):
            with contextlib.suppress(OSError, OverflowError):
                one.sendto(
                    b"\x80\0\0\0" + b"\0" * 8 if one is self._rtp else b"\x80\xc9\0\1\0\0\0\0", (self._camera, port)
                )

    def wait(self, beside: int, deadline: float) -> bool:
        """Wait for packets, or for what comes over the descriptor `beside`; whether something came there."""
        poll = select.poll()
        for one in (self._rtp.fileno(), self._rtcp.fileno(), beside):
            poll.register(one, select.POLLIN)
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000 + 1)
        return any(number == beside for number, _ in ready)

    def video(self) -> Iterator[bytes]:
        """The video packets that have come."""
        return self._packets(self._rtp)

    def control(self) -> Iterator[bytes]:
        """The reports that have come."""
        return self._packets(self._rtcp)

    def report(self, data: bytes) -> None:
        """Send a report to the camera, if it has a port for that."""
        if self._to:
            with contextlib.suppress(OSError, OverflowError):
                self._rtcp.sendto(data, (self._camera, self._to))

    def close(self) -> None:
        self._rtp.close()
        self._rtcp.close()

    def _packets(self, one: socket.socket) -> Iterator[bytes]:
        for _ in range(_AT_ONCE):
            try:
                data, sender = one.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP message: the port of the camera is closed. Its packets arrive all the same.
                continue
            if sender[0] == self._camera:
                yield data
