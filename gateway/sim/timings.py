"""Histograms of finished requests, with vLLM's buckets."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from gateway.sim.answer import Answer

_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
         40.0, 80.0, 160.0, 640.0, 2560.0)  # fmt: skip
_ITL = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
            480.0, 960.0, 1920.0, 7680.0)  # fmt: skip
_TOKENS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


class Histogram:
    """Cumulative buckets, a sum and a count."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def lines(self, name: str, labels: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            le = "+Inf" if bound == float("inf") else bound
            yield f'{name}_bucket{{engine="0",le="{le}",{labels}}} {float(total)}'
        yield f'{name}_count{{engine="0",{labels}}} {float(total)}'
        yield f'{name}_sum{{engine="0",{labels}}} {self._sum}'


class Timings:
    """The histograms of finished requests."""

    def __init__(self) -> None:
        self.time_to_first_token = Histogram(_TTFT)
        self.time_per_output_token = Histogram(_ITL)
        self.inter_token = Histogram(_ITL)
        self.end_to_end = Histogram(_LATENCY)
        self.prompt_tokens = Histogram(_TOKENS)
        self.generation_tokens = Histogram(_TOKENS)

    def finished(self, answer: Answer) -> None:
        now = time.monotonic()
        self.end_to_end.observe(now - answer.received_at)
        self.prompt_tokens.observe(answer.prompt_tokens)
        self.generation_tokens.observe(answer.generated)
        if answer.first_token_at is not None and answer.generated > 1:
            # The mean stands for each of the request's gaps: taking every token's time would cost more
            # than making the token does.
            gap = (now - answer.first_token_at) / (answer.generated - 1)
            self.time_per_output_token.observe(gap)
            self.inter_token.observe(gap, answer.generated - 1)

    def all(self) -> Iterable[tuple[str, str, Histogram]]:
        return (
            ("request_prompt_tokens", "Number of prefill tokens processed.", self.prompt_tokens),
            ("request_generation_tokens", "Number of generation tokens processed.", self.generation_tokens),
            (
                "time_to_first_token_seconds",
                "Histogram of time to first token in seconds.",
                self.time_to_first_token,
            ),
            ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", self.inter_token),
            (
                "request_time_per_output_token_seconds",
                "Histogram of time_per_output_token_seconds per request.",
                self.time_per_output_token,
            ),
            ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", self.end_to_end),
        )
