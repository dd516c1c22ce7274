"""Why a camera gives no frames, in words for people, and how soon it is worth asking again."""

from __future__ import annotations


class Lost(Exception):
    """The camera gives no frames (any more). The message reads on after "camera NAME", and holds no credentials."""


class Refused(Lost):
    """The camera wants nothing to do with us as we are: it is asked ever less often, since some lock accounts."""


class OtherCodec(Lost):
    """The camera's video is of a codec that this backend does not decode."""
