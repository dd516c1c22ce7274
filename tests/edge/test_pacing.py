"""When the next frame is taken, on a clock of the test's own."""

import random

from emflow_edge.pacing import RequestPacer


class Simulated:
    """An agent that works on one request at a time, and a client that has at most two under way."""

    def __init__(self, preparing: float, transport: float, inferring: float, jitter: float = 0.0) -> None:
        self.pace = RequestPacer()
        self._preparing, self._transport, self._inferring, self._jitter = preparing, transport, inferring, jitter
        self._random = random.Random(7)
        self.waited: list[float] = []
        self.idle: list[float] = []

    def run(self, frames: int) -> None:
        free, taken = 0.0, 0.0
        under_way: list[tuple[float, float, float]] = []
        for _ in range(frames):
            if len(under_way) == 2:
                self._answer(under_way)
            now = taken
            while under_way:
                now = max(taken, self.pace.next_take_at)
                if under_way[0][2] > now:
                    break
                self._answer(under_way)
                now = max(taken, now)
            taken = now
            self.pace.frame_taken(taken)
            sent = taken + self._preparing
            arrived = sent + self._transport
            self.waited.append(max(0.0, free - arrived))
            self.idle.append(max(0.0, arrived - free))
            free = max(free, arrived) + self._inferring * (1 + self._random.uniform(0, self._jitter))
            under_way.append((taken, sent, free + self._transport))

    def _answer(self, under_way: list[tuple[float, float, float]]) -> None:
        taken, sent, answered = under_way.pop(0)
        self.pace.answered(taken, sent, answered, len(under_way))


def test_a_slow_model_is_never_idle_and_no_frame_waits_long_for_it() -> None:
    agent = Simulated(preparing=0.002, transport=0.0003, inferring=0.1)
    agent.run(200)
    assert max(agent.idle[50:]) == 0
    assert max(agent.waited[50:]) < 0.01


def test_a_model_whose_times_vary_costs_a_little_age_and_hardly_any_rate() -> None:
    agent = Simulated(preparing=0.002, transport=0.0003, inferring=0.05, jitter=0.2)
    agent.run(500)
    assert sum(agent.idle[100:]) < 0.02 * 0.05 * 400
    assert sum(agent.waited[100:]) / 400 < 0.02
