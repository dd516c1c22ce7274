"""The IPC server: event-stream RPC on the device's Unix socket, on an event loop in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emflow.problems import Problem
from emflow_emulator.core.ipc.conversation import Conversation, protocol_error
from emflow_emulator.core.ipc.frames import BadFrame, Decoder, Message, TooLong, encode
from emflow_emulator.core.ipc.operations import Operations
from emflow_emulator.core.logs import DeviceLog

_LINGER = 1.0
"""Seconds in which a refused client may close the connection itself."""
_MOST_UNREAD = 16 * 1024 * 1024
"""Maximum bytes that wait for a component that does not read; after that, its connection is closed."""


class IpcServer:
    """The server, from `start` to `stop`.

    Args:
        socket: the path of the socket; an old socket there is removed.
        owner_of: the component with a token, None when there is none.
        longest: bytes that a message may have; the connection of a longer one is closed. None: no limit.
    """

    def __init__(
        self,
        socket: Path,
        owner_of: Callable[[str], str | None],
        operations: Operations,
        log: DeviceLog,
        longest: int | None = None,
    ) -> None:
        self._socket = socket
        self._longest = longest
        self._owner_of = owner_of
        self._operations = operations
        self._log = log
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ipc", daemon=True)
        self._connections: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Components can connect when this returns.

        Raises:
            Problem: the socket cannot be made.
        """
        self._socket.unlink(missing_ok=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except OSError as error:
            self._end_thread()
            raise Problem(f"cannot listen on the core device's socket {self._socket}: {error}") from error

    def stop(self) -> None:
        """Close all connections and remove the socket."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._end_thread()
        self._socket.unlink(missing_ok=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, str(self._socket))
        self._socket.chmod(0o600)

    async def _close(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the component closed the connection, or the device stops
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = threading.get_ident()

        def send(message: Message) -> None:
            if threading.get_ident() == ours:
                self._write(writer, message)
            else:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the device has stopped
                    self._loop.call_soon_threadsafe(self._write, writer, message)

        decoder, conversation = (
            Decoder(self._longest),
            Conversation(self._owner_of, self._operations, send, self._refused),
        )
        try:
            while conversation.open and (data := await reader.read(65536)):
                try:
                    for message in decoder.feed(data):
                        conversation.take(message)
                except TooLong as error:
                    self._refused("A component sent too long a message; its connection is closed", error=error)
                    writer.transport.abort()
                    return
                except BadFrame as error:
                    send(protocol_error(str(error)))
                    break
                await writer.drain()
        finally:
            conversation.close()
        # A client that gets the reason closes the connection itself. If the device closed it first, the client would
        # report only a lost connection.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), _LINGER)

    def _write(self, writer: asyncio.StreamWriter, message: Message) -> None:
        if writer.is_closing():
            return
        writer.write(encode(message))
        if writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            self._refused("A component does not read its events; its connection is closed")
            writer.transport.abort()

    def _refused(self, what: str, **context: Any) -> None:
        self._log.say("ipc.IPCEventStreamService", what, level="ERROR", **context)
