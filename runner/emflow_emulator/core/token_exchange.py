"""The token exchange service: gives components AWS credentials of the device's role.

In SDKs, this kind of endpoint is called container credentials (AWS_CONTAINER_CREDENTIALS_FULL_URI). A component
authenticates with its token.
https://docs.aws.amazon.com/greengrass/v2/developerguide/token-exchange-service-component.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from emflow.json_text import to_json
from emflow_emulator import loopback
from emflow_emulator.connections import Connections

TOKEN_EXCHANGE = "aws.greengrass.TokenExchangeService"  # noqa: S105 a name, no secret
"""The component whose deployment gives the others credentials."""

_PATH = "/2016-11-01/credentialprovider/"
_PATIENCE = 10.0
"""Seconds in which a client has to say what it wants; each has a thread."""
_EARLY = timedelta(minutes=5)
"""Credentials that expire within this time are renewed first, as on a real core device."""


class NoCredentials(Exception):
    """No credentials are available; the text has the reason."""


class TokenExchange:
    """The endpoint, on loopback, from `start` to `stop`.

    Args:
        known: whether a token belongs to a component of this device.
        credentials: gets credentials from STS, with AccessKeyId, SecretAccessKey, SessionToken and Expiration.
    """

    def __init__(self, known: Callable[[str], bool], credentials: Callable[[], Mapping[str, Any]]) -> None:
        self._known = known
        self._ask = credentials
        self._held: Mapping[str, Any] | None = None
        self._lock = threading.Lock()
        service, connections = self, Connections()

        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE

            def do_GET(self) -> None:
                objection = loopback.objection(self.command, self.path, self.headers)
                if objection:
                    self._send(HTTPStatus.FORBIDDEN, {"message": objection})
                else:
                    self._send(*service.answer(self.path, self.headers.get("Authorization", "")))

            def finish(self) -> None:
                connections.remove(self.connection)
                super().finish()

            def _send(self, status: HTTPStatus, document: Mapping[str, str]) -> None:
                body = to_json(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Requests are not logged, because components send many."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.verify_request = lambda request, _: connections.add(request)  # type: ignore[method-assign, assignment, arg-type]
        self._server.service_actions = connections.close_late  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="token-exchange")

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{_PATH}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, path: str, token: str) -> tuple[HTTPStatus, dict[str, str]]:
        if path.rstrip("/") != _PATH.rstrip("/"):
            return HTTPStatus.BAD_REQUEST, {"message": f"only {_PATH} is answered"}
        if not self._known(token):
            return HTTPStatus.FORBIDDEN, {"message": "the authorization token belongs to no component of this device"}
        try:
            held = self._current()
        except NoCredentials as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": f"Failed to get credentials: {error}"}
        return HTTPStatus.OK, {
            "AccessKeyId": held["AccessKeyId"],
            "SecretAccessKey": held["SecretAccessKey"],
            "Token": held["SessionToken"],
            "Expiration": held["Expiration"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _current(self) -> Mapping[str, Any]:
        with self._lock:
            if self._held is None or self._held["Expiration"] - datetime.now(UTC) < _EARLY:
                self._held = self._ask()
            return self._held
