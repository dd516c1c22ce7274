"""Requests over HTTP that a web page may have caused, and are refused whoever they are for.

A browser sends them to loopback for every page that asks, and lets a page read the answer where it can be made to
believe that both are of one site: by an answer that allows it (CORS), or by a name that now stands for 127.0.0.1 (DNS
rebinding). So no answer of ours allows it, and what was not sent to this address by its own name is refused.
"""

from __future__ import annotations

import re
from email.message import Message

_OURS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)


def objection(method: str, target: str, headers: Message) -> str:
    """Why a request is not that of a program that meant this address; empty when it may be.

    Args:
        target: path and query, as they came.
        headers: as they came, so that a name which is there twice is seen twice.
    """
    hosts = headers.get_all("Host") or []
    # A target with a host of its own would go over the header (RFC 9112, section 3.2.2).
    if len(hosts) != 1 or not _OURS.fullmatch(hosts[0].strip()) or not target.startswith("/"):
        return "only requests to 127.0.0.1, localhost or [::1] by that name are answered"
    if "Origin" in headers:
        return "requests of web pages are not answered"
    if method == "OPTIONS":
        return "nothing is allowed to web pages, so there is nothing to ask for beforehand"
    return ""
