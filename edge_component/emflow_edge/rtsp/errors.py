"""Why a camera gives no frames, in words for people, and how soon it is worth asking again."""

from __future__ import annotations

# What is quoted of a camera in a message; status and log are no place for pages.
_LONGEST = 200


class CameraLost(Exception):
    """The camera gives no frames (any more). The message reads on after "camera NAME", and holds no credentials.

    It may quote what the camera sends, so it is cut short, and holds nothing that moves a terminal's cursor.
    """

    def __init__(self, why: str) -> None:
        text = "".join(sign if sign.isprintable() else "?" for sign in why[: _LONGEST + 1])
        super().__init__(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


class CameraRefused(CameraLost):
    """The camera wants nothing to do with us as we are: it is asked ever less often, since some lock accounts."""


class UnsupportedCodec(CameraLost):
    """The camera's video is of a codec that this backend does not decode."""
