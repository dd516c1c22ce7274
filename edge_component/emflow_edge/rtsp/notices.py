"""What a camera does otherwise than its protocol says, and is read all the same: each is one line in the log."""

from __future__ import annotations

from typing import Callable

Notice = Callable[[str], object]
"""Reports it. The text continues "camera NAME …" and has no credentials; it may come again and again."""


def no_notice(_text: str) -> None:
    """Report nothing."""
