"""Why a camera delivers no frames; the class decides how soon it is tried again."""

from __future__ import annotations

# Maximum length of a message, which may quote the camera.
_LONGEST = 200


class CameraLost(Exception):
    """The camera delivers no frames (any more). The message continues "camera NAME …" and has no credentials.

    It may quote the camera, so it is shortened, and control characters are replaced.
    """

    def __init__(self, why: str) -> None:
        text = "".join(sign if sign.isprintable() else "?" for sign in why[: _LONGEST + 1])
        super().__init__(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


class CameraRefused(CameraLost):
    """The camera refuses us, for example the password: it is tried less and less often, since some lock accounts."""


class UnsupportedCodec(CameraLost):
    """The video of the camera has a codec that this backend does not decode."""
