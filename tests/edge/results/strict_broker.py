"""A broker of MQTT 3.1.1 that can say no only as brokers of that version do: it ends the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Refuses = Callable[[str, bytes], bool]

_CONNECT, _PUBLISH, _PINGREQ, _DISCONNECT = 1, 3, 12, 14


@dataclass
class StrictBroker:
    """A server on a free port. refuses: whether a message ends the connection, by its topic and payload."""

    refuses: Refuses
    connections: int = 0
    broken: int = 0
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:

            def read(size: int) -> bytes:
                data = stream.read(size)
                if len(data) < size:
                    raise OSError
                return data

            try:
                while self._answer(connection, read):
                    pass
            except OSError:
                return

    def _answer(self, connection: socket.socket, read: Callable[[int], bytes]) -> bool:
        """Read a packet and answer it; whether the connection goes on."""
        first, length, shift = read(1)[0], 0, 0
        while True:
            byte = read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        body, kind = read(length), first >> 4
        if kind == _CONNECT:
            self.connections += 1
            connection.sendall(b"\x20\x02\x00\x00")
        elif kind == _PUBLISH:
            end = 2 + int.from_bytes(body[:2], "big")
            topic, acknowledged = body[2:end].decode(), bool(first & 6)
            payload = body[end + 2 * acknowledged :]
            if self.refuses(topic, payload):
                self.broken += 1
                return False
            self.taken.append((topic, payload))
            if acknowledged:
                connection.sendall(b"\x40\x02" + body[end : end + 2])
        elif kind == _PINGREQ:
            connection.sendall(b"\xd0\x00")
        return kind != _DISCONNECT
