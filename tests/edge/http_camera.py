"""An HTTP camera that shows one picture, to whoever knows user and password."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np


class Camera:
    """`refused` counts those who did not know the password."""

    def __init__(self, user: str, password: str) -> None:
        self.user, self.password = user, password
        self.refused = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mjpeg"


@contextmanager
def camera(user: str, password: str) -> Iterator[Camera]:
    """A camera for as long as the block runs, with ten pictures a second."""
    camera, stop = Camera(user, password), threading.Event()
    data = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = base64.b64encode(f"{camera.user}:{camera.password}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {known}":
                camera.refused += "Authorization" in self.headers
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            try:
                while not stop.wait(0.1):
                    self.wfile.write(head + data + b"\r\n")
            except OSError:
                return

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    camera.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield camera
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
