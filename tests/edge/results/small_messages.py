"""A nucleus that ends the connection of who sends a large IPC message, as the lite nucleus does above 10,000 bytes."""

from __future__ import annotations

import socket
import threading
from pathlib import Path


class SmallMessages:
    """Stands between a component and a nucleus. most: bytes of an event stream message of the component."""

    def __init__(self, path: Path, nucleus: Path, most: int) -> None:
        self._nucleus, self._most = nucleus, most
        self.hung_up = 0
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A thread that waits in accept keeps a socket that is only closed.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                component, _ = self._server.accept()
            except OSError:
                return
            nucleus = socket.socket(socket.AF_UNIX)
            nucleus.connect(str(self._nucleus))
            for work in (self._forward, self._answer):
                threading.Thread(target=work, args=(component, nucleus), daemon=True).start()

    def _forward(self, component: socket.socket, nucleus: socket.socket) -> None:
        try:
            with component.makefile("rb") as stream:
                # The first four bytes are the length of the whole message.
                while length := stream.read(4):
                    size = int.from_bytes(length, "big")
                    rest = stream.read(size - 4)
                    if size > self._most:
                        self.hung_up += 1
                        break
                    nucleus.sendall(length + rest)
        except OSError:
            pass
        _end(component, nucleus)

    def _answer(self, component: socket.socket, nucleus: socket.socket) -> None:
        try:
            while data := nucleus.recv(1 << 16):
                component.sendall(data)
        except OSError:
            pass
        _end(component, nucleus)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
