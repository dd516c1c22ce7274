"""Results as lines for people."""

from __future__ import annotations

from emflow.results.message import NotAResult, Result

_LONGEST_SNIPPET = 60


def line(message: Result | NotAResult) -> str:
    """One line: time (UTC), stream, label or index, confidence, time of Predict, age of the frame.

    For instance `03:04:05.678Z  front  orange               81.6 %  predict  19.8 ms  age   45 ms`.
    What a message does not say is left out.
    """
    if isinstance(message, NotAResult):
        snippet = message.payload[:_LONGEST_SNIPPET].decode(errors="replace")
        dots = "…" if len(message.payload) > _LONGEST_SNIPPET else ""
        return f"not a result ({message.reason}): {_printable(snippet)}{dots}"
    parts = []
    if message.frame_time:
        parts.append(f"{message.frame_time:%H:%M:%S}.{message.frame_time.microsecond // 1000:03d}Z")
    if message.stream:
        parts.append(_printable(message.stream))
    label = f"class {message.index}" if message.label is None else _printable(message.label)
    parts += [f"{label:<20}", f"{message.confidence:5.1%}".replace("%", " %"), f"predict {message.predict_ms:5.1f} ms"]
    if message.frame_age_ms is not None:
        parts.append(f"age {message.frame_age_ms:4.0f} ms")
    return "  ".join(parts)


def _printable(text: str) -> str:
    """What came over the network must not steer somebody's terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
