"""The IPC server: event-stream RPC on the device's Unix socket.

A connection begins with a `connect` message that carries the component's token; then every stream is one operation.
It runs on an event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emflow.local.core.ipc.frames import BadFrame, Decoder, Flags, Kind, Message, encode
from emflow.local.core.ipc.operations import PREFIX, IpcError, Operations
from emflow.local.core.logs import DeviceLog
from emflow.problems import Problem

_VERSION = "0.1.0"
_JSON = "application/json"
_LINGER = 1.0
"""Seconds in which a client that was refused may close the connection itself."""


class IpcServer:
    """The server, from `start` to `stop`.

    Args:
        socket: where to listen; what lies there from before is removed.
        owner_of: the component that a token was given to, None when it is nobody's.
    """

    def __init__(
        self, socket: Path, owner_of: Callable[[str], str | None], operations: Operations, log: DeviceLog
    ) -> None:
        self._socket = socket
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
        """Let all go, remove the socket."""
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
            pass  # the component left, or the device stops
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder, conversation = Decoder(), Conversation(self._owner_of, self._operations, self._refused)
        while conversation.open and (data := await reader.read(65536)):
            try:
                for message in decoder.feed(data):
                    for answer in conversation.take(message):
                        writer.write(encode(answer))
            except BadFrame as error:
                writer.write(encode(Message(Kind.PROTOCOL_ERROR, payload=_text(message=str(error)))))
                conversation.open = False
            await writer.drain()
        # A client that is told why closes by itself; if this side were first, it would know of a lost socket only.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), _LINGER)

    def _refused(self, what: str, **context: Any) -> None:
        self._log.say("ipc.IPCEventStreamService", what, level="ERROR", **context)


class Conversation:
    """One connection's protocol, without the socket: messages in, messages out."""

    def __init__(
        self, owner_of: Callable[[str], str | None], operations: Operations, refused: Callable[..., None]
    ) -> None:
        self._owner_of = owner_of
        self._operations = operations
        self._refused = refused
        self._component: str | None = None
        self.open = True

    def take(self, message: Message) -> list[Message]:
        """What to answer; after that `open` tells whether the connection goes on."""
        if not self.open:
            return []
        if message.stream:
            return self._operation(message)
        if message.kind is Kind.CONNECT:
            return [self._connect(message)]
        if message.kind is Kind.PING:
            return [Message(Kind.PING_RESPONSE, payload=message.payload)]
        return []

    def _connect(self, message: Message) -> Message:
        version, token = message.headers.get(":version"), None
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            token = json.loads(message.payload).get("authToken")
        self._component = self._owner_of(token) if isinstance(token, str) and version == _VERSION else None
        if self._component is None:
            self.open = False
            self._refused("Unrecognized client connecting to GGC over IPC", version=version)
            return Message(Kind.CONNECT_ACK)
        return Message(Kind.CONNECT_ACK, flags=Flags.ACCEPTED)

    def _operation(self, message: Message) -> list[Message]:
        if self._component is None:
            self.open = False
            return [Message(Kind.PROTOCOL_ERROR, payload=_text(message="connect first"))]
        operation = message.headers.get("operation")
        if operation is None:
            return []  # the component closes a stream that is closed here already
        if not str(operation).startswith(PREFIX):
            body = _text(_errorCode="aws#UnsupportedOperation", _message=f"{operation} is no operation of this service")
            return [_answer(message, Kind.ERROR, "aws#UnsupportedOperation", body)]
        name = str(operation).removeprefix(PREFIX)
        try:
            response = self._operations.answer(self._component, name, _request(message.payload))
            return [_answer(message, Kind.MESSAGE, f"{PREFIX}{name}Response", _text(**response))]
        except IpcError as caught:
            error = caught
        except Exception as caught:  # the other operations of this connection go on
            error = IpcError("ServiceError", f"unexpected: {type(caught).__name__}: {caught}")
        self._refused(error.message, component=self._component, operation=name, error=error.kind)
        body = _text(_errorCode=error.kind, message=error.message)
        return [_answer(message, Kind.ERROR, f"{PREFIX}{error.kind}", body)]


def _request(payload: bytes) -> dict[str, Any]:
    try:
        request = json.loads(payload or b"{}")
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise IpcError("InvalidArgumentsError", "the request is not a JSON object")
    return request


def _answer(to: Message, kind: Kind, model: str, payload: bytes) -> Message:
    """An operation's only answer, which ends its stream."""
    headers = {":content-type": _JSON, "service-model-type": model}
    return Message(kind, to.stream, Flags.TERMINATE, payload, headers)


def _text(**values: Any) -> bytes:
    return json.dumps(values).encode()
