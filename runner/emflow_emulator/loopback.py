"""Detects HTTP requests that a web page may have sent; every server of the emulator refuses them.

A browser sends requests of any page to loopback. The page may read the answer when the answer allows it (CORS), or when
the page's host name has been changed to resolve to 127.0.0.1 (DNS rebinding). So no answer has a CORS header, and a
request for another host name than that of this machine's loopback address is refused.
"""

from __future__ import annotations

import re
from email.message import Message

_OURS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_BUCKET = re.compile(r"(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.(?P<host>localhost(:\d{1,5})?)", re.IGNORECASE)


NOT_OURS = "only requests to the hosts 127.0.0.1, localhost and [::1] are answered"


def bucket_in_host(headers: Message) -> tuple[str, str]:
    """The bucket that S3's virtual-hosted style puts before `localhost`, and the rest of the host; empty without one.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html. No page can have such a name by DNS
    rebinding: names under `localhost` are loopback's to every browser (RFC 6761, section 6.3).
    """
    found = _BUCKET.fullmatch((headers.get("Host") or "").strip())
    return (found["bucket"].lower(), found["host"]) if found else ("", "")


def objection(method: str, target: str, headers: Message, *, buckets: bool = False) -> str:
    """The reason to refuse a request because it may come from a web page; empty when there is none.

    Args:
        target: path and query, as received.
        headers: as received, with repeated names.
        buckets: whether a bucket's name may stand before `localhost`; the caller refuses it where it is no bucket's.
    """
    hosts = headers.get_all("Host") or []
    # A host in the target would take precedence over the header (RFC 9112, section 3.2.2).
    ours = len(hosts) == 1 and (_OURS.fullmatch(hosts[0].strip()) or (buckets and bucket_in_host(headers)[0]))
    if not ours or not target.startswith("/"):
        return NOT_OURS
    if "Origin" in headers:
        return "requests from web pages are not answered"
    if method == "OPTIONS":
        return "preflight requests are not answered, because web pages are not allowed to send requests"
    return ""
