"""The embedded MQTT broker: amqtt in a thread of its own, open to whoever is on this machine, and to nobody else.

It speaks MQTT 3.1.1, as AWS IoT's SDKs do by default.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import threading
from concurrent.futures import Future
from types import TracebackType

from amqtt.broker import Broker as Amqtt

from emflow.problems import Problem

# amqtt tells every packet; what goes wrong inside it still comes through.
_QUIET = ("amqtt", "transitions")
# A broker listens by itself, too, but then nobody learns which port it took; so the listener is ours ("external").
_LISTENER = "default"
_CONFIG = {
    "listeners": {_LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


class Broker:
    """An MQTT broker on loopback, from `start` to `stop`; also a context manager.

    Args:
        host: the loopback address to listen on.
        port: the port to listen on; 0 picks a free one, which `port` tells after `start`.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self._thread: threading.Thread | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start; clients can connect when this returns.

        Raises:
            Problem: the port is taken, or the address is open to other machines: everybody may do everything here.
        """
        if not ipaddress.ip_address(self.host).is_loopback:
            raise Problem(f"the embedded broker has no passwords, so it does not listen on {self.host}")
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        listening: Future[int] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve(listening)], name="broker", daemon=True)
        self._thread.start()
        try:
            self.port = listening.result()
        except (OSError, OverflowError) as error:
            self._thread.join()
            self._thread = None
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                what, mend = f"MQTT port {self.port} is taken", "Choose another with --mqtt-port; 0 picks a free one."
            else:
                what, mend = f"cannot listen on {self.host}:{self.port}: {error}", "Choose another with --mqtt-port."
            raise Problem(what, mend=mend) from error

    def stop(self) -> None:
        """Let all clients go, free the port, end the thread. Nothing to do when it does not run."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._told.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, listening: Future[int]) -> None:
        """Everything the thread does; `listening` gets the port, or the reason why there is none."""
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(self._client, self.host, self.port, start_serving=False)
            self._amqtt = Amqtt(_CONFIG)
            await self._amqtt.start()
            await server.start_serving()
        except Exception as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._told.wait()
        # Who is just being accepted is let go with the loop; asyncio would write a traceback about it.
        self._loop.set_exception_handler(lambda *_: None)
        server.close()
        for writer in self._clients.values():
            writer.transport.abort()
        if self._clients:
            await asyncio.wait(self._clients)
        await self._amqtt.shutdown()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._clients[task] = writer
        try:
            await self._amqtt.stream_connected(reader, writer, _LISTENER)
        except (ConnectionError, asyncio.CancelledError):
            pass  # it left without a word, or came while the broker was stopping
        finally:
            del self._clients[task]
            writer.close()
