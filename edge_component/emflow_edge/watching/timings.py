"""How long a frame's stations took during the last minute."""

from __future__ import annotations

from emflow_edge.metrics.latencies import Latencies, Spread

NAMES = ("preprocess", "predict", "age")


class Timings:
    """In milliseconds. preprocess: a frame into the model's input; predict: the whole call; age: of a frame when its
    result was published.
    """

    def __init__(self) -> None:
        self.preprocess, self.predict, self.age = Latencies(), Latencies(), Latencies()

    def now(self) -> dict[str, Spread | None]:
        return {"preprocess": self.preprocess.spread(), "predict": self.predict.spread(), "age": self.age.spread()}

    def __str__(self) -> str:
        told = [(name, spread) for name, spread in self.now().items() if spread]
        return ", ".join(f"{name} p50 {spread.p50:.1f} ms p99 {spread.p99:.1f} ms" for name, spread in told)
