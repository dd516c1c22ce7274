"""Cameras whose every answer the test writes, relays before them, and a certificate for one."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.camera.relays import USER, stream_of
from edge.camera.scripted_camera import ScriptedCamera, tidy
from emflow_edge.camera.http_relay import HttpRelay
from emflow_edge.camera.rtsp_relay import RtspRelay
from emflow_schema.edge_config import Stream


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedCamera]]:
    cameras: list[ScriptedCamera] = []

    def start(
        answer: Callable[[str], bytes | None] = tidy, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> ScriptedCamera:
        cameras.append(ScriptedCamera(answer, context, host))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()


@pytest.fixture
def relayed() -> Iterator[Callable[..., RtspRelay]]:
    relays: list[RtspRelay] = []

    def start(camera: ScriptedCamera, **settings: Any) -> RtspRelay:
        relays.append(RtspRelay(stream_of(camera, **settings), USER, threading.Event(), lambda _: None))
        return relays[-1]

    yield start
    for relay in relays:
        relay.close()


@pytest.fixture
def http_relayed() -> Iterator[Callable[..., HttpRelay]]:
    relays: list[HttpRelay] = []

    def start(camera: ScriptedCamera) -> HttpRelay:
        stream = Stream(
            "front", f"http://127.0.0.1:{camera.port}/mjpeg?fps=5", pipeline="souphttpsrc location={url} ! x"
        )
        relays.append(HttpRelay(stream, USER, lambda _: None))
        return relays[-1]

    yield start
    for relay in relays:
        relay.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 signed by itself, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camera")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "camera.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
