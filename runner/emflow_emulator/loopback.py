"""Detects HTTP requests that a web page may have sent; every server of the emulator refuses them.

A browser sends requests of any page to loopback. The page may read the answer when the answer allows it (CORS), or when
the page's host name has been changed to resolve to 127.0.0.1 (DNS rebinding). So no answer has a CORS header, and a
request for another host name than that of this machine's loopback address is refused.
"""

from __future__ import annotations

import re
from email.message import Message

_OURS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)


def objection(method: str, target: str, headers: Message) -> str:
    """The reason to refuse a request because it may come from a web page; empty when there is none.

    Args:
        target: path and query, as received.
        headers: as received, with repeated names.
    """
    hosts = headers.get_all("Host") or []
    # A host in the target would take precedence over the header (RFC 9112, section 3.2.2).
    if len(hosts) != 1 or not _OURS.fullmatch(hosts[0].strip()) or not target.startswith("/"):
        return "only requests to the hosts 127.0.0.1, localhost and [::1] are answered"
    if "Origin" in headers:
        return "requests from web pages are not answered"
    if method == "OPTIONS":
        return "preflight requests are not answered, because web pages are not allowed to send requests"
    return ""
