"""Host and device say the same of a stream, and what the device said before they shared one reading of it."""

from __future__ import annotations

import json
from typing import Any

from schema.verdicts import TABLE, on_device, on_host

KNOWN: dict[str, Any] = json.loads(TABLE.read_text())
STREAMS: list[dict[str, Any]] = KNOWN["streams"]


def test_host_and_device_say_what_is_in_the_table() -> None:
    wrong = []
    for row in STREAMS:
        now = row.get("now", row["device"])
        wanted = {"device": now, "host": row.get("host", now)}
        found = {"device": on_device(row["stream"]), "host": on_host(row["stream"])}
        if found != wanted:
            wrong.append({**row, "found": found})
    assert wrong == [], "\n".join(json.dumps(row) for row in wrong)


def test_every_difference_in_the_table_has_its_reason() -> None:
    for row in STREAMS:
        assert ("why" in row) == ("now" in row or "host" in row), row
        assert row.get("now") != row["device"]
        assert row.get("host") != row.get("now", row["device"])
    assert {row["why"] for row in STREAMS if "why" in row} == set(KNOWN["why"])


def test_the_table_has_something_of_every_kind() -> None:
    assert len(STREAMS) >= 200
    for key in ("every", "credentials", "transport", "backend", "pipeline", "ca", "openTimeout", "frozenAfter"):
        verdicts = {row["device"] for row in STREAMS if key in row["stream"]}
        assert verdicts == {"taken", "refused"}, key
