"""Rules for streams: an address that the edge component can read, and settings that mean something for it.

What they are, the stream itself knows: the component asks the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath, format_path
from emflow.workflow.suggestions import did_you_mean
from emflow_schema.edge_config import PRESETS, Stream
from emflow_schema.stream_url import SCHEMES, UnknownScheme, why_not


def streams(workflow: Workflow) -> Iterator[Violation]:
    for index, stream in enumerate(workflow.edge.streams):
        for fault in stream.faults():
            place: KeyPath = ("edge", "streams", index, fault.key)
            yield Violation(place, f"{format_path(place)}: {fault.message}", _meant(stream, fault.key) or fault.mend)


def _meant(stream: Stream, key: str) -> str:
    """The word that is nearly what was written, where one is."""
    wrong = why_not(stream.url) if key == "url" else None
    if isinstance(wrong, UnknownScheme):
        return did_you_mean(wrong.scheme, dict.fromkeys(SCHEMES))
    return did_you_mean(stream.pipeline or "", dict.fromkeys(PRESETS)) if key == "pipeline" else ""
