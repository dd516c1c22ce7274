"""The protocol of one connection, without its socket: it takes and sends messages.

A connection begins with a `connect` message that contains the component's token. Then every stream is one operation,
which ends with its response, or when one side closes it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from emflow.json_text import from_json, to_json
from emflow_emulator.core.ipc.errors import PREFIX, Document, IpcError, invalid
from emflow_emulator.core.ipc.frames import Flags, Kind, Message
from emflow_emulator.core.ipc.operations import Operations
from emflow_emulator.core.ipc.streams import Stream

_VERSION = "0.1.0"
_JSON = "application/json"


class Conversation:
    """One connection.

    Args:
        owner_of: the component with a token, None when there is none.
        send: sends a message to the component; called from any thread.
        refused: called for every refusal.
    """

    def __init__(
        self,
        owner_of: Callable[[str], str | None],
        operations: Operations,
        send: Callable[[Message], None],
        refused: Callable[..., None],
    ) -> None:
        self._owner_of = owner_of
        self._operations = operations
        self._send = send
        self._refused = refused
        self._component: str | None = None
        self._streams: dict[int, Stream] = {}
        self.open = True

    def take(self, message: Message) -> None:
        """Answer a message; after that, `open` is False when the connection has to be closed."""
        if not self.open:
            return
        if message.stream:
            self._operation(message)
        elif message.kind is Kind.CONNECT:
            self._send(self._connect(message))
        elif message.kind is Kind.PING:
            self._send(Message(Kind.PING_RESPONSE, payload=message.payload))

    def close(self) -> None:
        """The connection is closed: close all its streams."""
        self.open = False
        for stream in list(self._streams.values()):
            stream.close()
        self._streams.clear()

    def _connect(self, message: Message) -> Message:
        version, token = message.headers.get(":version"), None
        with contextlib.suppress(ValueError, AttributeError):
            token = from_json(message.payload).get("authToken")
        self._component = self._owner_of(token) if isinstance(token, str) and version == _VERSION else None
        if self._component is None:
            self.open = False
            self._refused("Unrecognized client connecting to GGC over IPC", version=version)
            return Message(Kind.CONNECT_ACK)
        return Message(Kind.CONNECT_ACK, flags=Flags.ACCEPTED)

    def _operation(self, message: Message) -> None:
        if self._component is None:
            self.open = False
            self._send(protocol_error("connect first"))
            return
        if Flags.TERMINATE in message.flags and message.stream in self._streams:
            self._streams.pop(message.stream).close()
            return
        operation = message.headers.get("operation")
        if operation is None:
            return  # the component closes a stream that is already closed here
        if not str(operation).startswith(PREFIX):
            body = {
                "_errorCode": "aws#UnsupportedOperation",
                "_message": f"{operation} is not an operation of this service",
            }
            self._send(_message(message.stream, Kind.ERROR, "aws#UnsupportedOperation", body))
            return
        name = str(operation).removeprefix(PREFIX)
        stream = Stream(self._component, self._events(message.stream))
        if self._operations.is_stream(name):
            self._streams[message.stream] = stream
        asked = (self._component, name, message, stream)
        if self._operations.is_slow(name):
            threading.Thread(target=self._answer, args=asked, name=f"ipc-{name}", daemon=True).start()
        else:
            self._answer(*asked)

    def _answer(self, component: str, name: str, message: Message, stream: Stream) -> None:
        goes_on = self._operations.is_stream(name)
        try:
            response = self._operations.answer(component, name, _request(message.payload), stream)
            flags = Flags.NONE if goes_on else Flags.TERMINATE
            self._send(_message(message.stream, Kind.MESSAGE, f"{name}Response", response, flags))
            stream.opened()
            return
        except IpcError as caught:
            error = caught
        except Exception as caught:  # the other operations of this connection continue
            error = IpcError("ServiceError", f"unexpected: {type(caught).__name__}: {caught}")
        self._streams.pop(message.stream, None)
        stream.close()
        self._refused(error.message, component=component, operation=name, error=error.kind)
        body = {"_errorCode": error.kind, "message": error.message}
        self._send(_message(message.stream, Kind.ERROR, error.kind, body))

    def _events(self, stream: int) -> Callable[[str, Document], None]:
        def send(kind: str, event: Document) -> None:
            self._send(_message(stream, Kind.MESSAGE, kind, event, Flags.NONE))

        return send


def protocol_error(text: str) -> Message:
    return Message(Kind.PROTOCOL_ERROR, payload=to_json({"message": text}).encode())


def _request(payload: bytes) -> dict[str, Any]:
    try:
        request = from_json(payload or b"{}")
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise invalid("the request is not a JSON object")
    return request


def _message(stream: int, kind: Kind, model: str, body: Document, flags: Flags = Flags.TERMINATE) -> Message:
    """A message of an operation; by default the last message of its stream."""
    name = model if "#" in model else PREFIX + model
    headers = {":content-type": _JSON, "service-model-type": name}
    return Message(kind, stream, flags, to_json(body).encode(), headers)
