"""What a camera announced, against what it does."""

from __future__ import annotations


class FirstGuess:
    """A number that was announced, such as a channel. It counts for as long as it is seen.

    If only other numbers come, the one that still comes after `patience` seconds counts instead. Not thread-safe.
    """

    def __init__(self, announced: int, patience: float = 0.5) -> None:
        self.value = self._announced = announced
        self._patience = patience
        self._seen = False
        self._others_since: float | None = None

    def accepts(self, number: int, at: float) -> bool:
        """Whether what came with this number at monotonic time `at` is what was announced."""
        if number == self._announced:
            self.value, self._seen = number, True
        elif not self._seen and self.value == self._announced:
            self._others_since = at if self._others_since is None else self._others_since
            if at - self._others_since >= self._patience:
                self.value = number
        return number == self.value

    @property
    def given_up(self) -> bool:
        """Whether another number counts than the one that was announced."""
        return self.value != self._announced
