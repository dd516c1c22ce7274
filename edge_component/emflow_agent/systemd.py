"""What systemd is told of the agent's state (sd_notify), where systemd runs it as a service of type `notify`."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Say something like READY=1. Without systemd, or one that does not ask, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    # An @ stands for the NUL that a name in the abstract namespace begins with: sd_notify(3).
    target = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.sendto(state.encode(), target)
