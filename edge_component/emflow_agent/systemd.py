"""Readiness notification to systemd (sd_notify), for a service unit of type `notify`."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send a state such as READY=1. Does nothing when systemd did not ask for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    # A leading @ stands for the NUL byte of an abstract socket name: sd_notify(3).
    target = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(state.encode(), target)
