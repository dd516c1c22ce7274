"""A camera whose every answer the test writes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable

SDP = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"


class ScriptedCamera:
    """Listens on loopback; a function gets each request's head and gives the bytes to send, None to hang up.

    After a PLAY that was answered it sends `video`, and calls `play`. After those in `endless_after` it sends `endless`
    over and over.
    """

    def __init__(
        self, answer: Callable[[str], bytes | None], context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.video = self.endless = b""
        self.endless_after: tuple[str, ...] = ("PLAY", "GET ")
        self.play: Callable[[socket.socket], None] = lambda _: None
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def methods(self) -> list[str]:
        return [head.split(" ")[0] for head in self.heads]

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
            with client:
                buffer = b""
                while data := client.recv(4096):
                    buffer += data
                    while b"\r\n\r\n" in buffer:
                        head, _, buffer = buffer.partition(b"\r\n\r\n")
                        text = head[head.find(b"$") + 1 :].decode("latin-1") if head[:1] == b"$" else head.decode()
                        self.heads.append(text)
                        given = self.answer(text)
                        if given is None:
                            return
                        client.sendall(given)
                        if text.startswith(("PLAY", "GET ")) and b" 200 " in given:
                            client.sendall(self.video)
                            self.play(client)
                        while self.endless and text.startswith(self.endless_after):
                            client.sendall(self.endless)
                            time.sleep(0.001)


def sequence(head: str) -> str:
    return head.split("CSeq: ")[1].split("\r\n")[0]


def answered(head: str, status: str = "200 OK", headers: str = "", body: str = "") -> bytes:
    """An answer as a tidy camera writes it."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"RTSP/1.0 {status}\r\nCSeq: {sequence(head)}\r\n{headers}{length}\r\n{body}".encode()


def tidy(head: str) -> bytes:
    """What a camera answers that does all as it should."""
    method = head.split(" ")[0]
    if method == "OPTIONS":
        return answered(head, headers="Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n")
    if method == "DESCRIBE":
        return answered(head, headers="Content-Type: application/sdp\r\n", body=SDP)
    if method == "SETUP":
        transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
        return answered(head, headers=f"Session: 12345;timeout=60\r\nTransport: {transport}\r\n")
    return answered(head)
