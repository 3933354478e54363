"""What clients saw, moment by moment: small enough to keep for hours and to send to another process. Pure."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from loadtests.llm.stream import StreamedAnswer

_RATIO = 1.02
_STEP = math.log(_RATIO)
_LEAST_S = 1e-6
SLOT_S = 0.5
"""How finely the time is kept apart: levels of a few seconds still have whole slots."""


class Histogram(msgspec.Struct):
    """Durations in buckets 2 % wide: a quantile is right to 1 %."""

    counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        bucket = round(math.log(max(seconds, _LEAST_S)) / _STEP)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: "Histogram") -> None:
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def quantile(self, share: float) -> float | None:
        """Seconds within which this share of them lies; None without any."""
        wanted = share * sum(self.counts.values())
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return math.exp(bucket * _STEP)
        return None


class Seen(msgspec.Struct):
    """What was seen in some time."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    output_tokens: float = 0.0
    locust_cpu: float = 0.0
    """The most that a Locust process used of a core, in percent."""
    ttft: Histogram = msgspec.field(default_factory=Histogram)
    itl: Histogram = msgspec.field(default_factory=Histogram)
    answer: Histogram = msgspec.field(default_factory=Histogram)
    """Whole answers, of requests that did not fail."""

    def merge(self, other: "Seen") -> None:
        self.requests += other.requests
        self.failures += other.failures
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.locust_cpu = max(self.locust_cpu, other.locust_cpu)
        self.ttft.merge(other.ttft)
        self.itl.merge(other.itl)
        self.answer.merge(other.answer)


class Timeline:
    """Each slot's figures, by Unix time: clocks of machines that load together have to agree."""

    def __init__(self) -> None:
        self._slots: dict[int, Seen] = {}

    def at(self, time_s: float) -> Seen:
        return self._slots.setdefault(int(time_s / SLOT_S), Seen())

    def streamed(self, answer: StreamedAnswer, began: float, ended: float) -> None:
        """Record a stream; `began` and `ended` in Unix time. Each token counts when it came."""
        last = self.at(ended)
        last.requests += 1
        last.prompt_tokens += answer.prompt_tokens
        if answer.problem:
            last.failures += 1
        elif not answer.left:
            last.answer.add(ended - began)
        ttft_s = answer.ttft_s()
        if ttft_s is None:
            return
        moment = began + ttft_s
        tokens_each = answer.tokens / (len(answer.gaps_s) + 1)
        seen = self.at(moment)
        seen.ttft.add(ttft_s)
        seen.output_tokens += tokens_each
        for gap_s in answer.gaps_s:
            moment += gap_s
            seen = self.at(moment)
            seen.itl.add(gap_s)
            seen.output_tokens += tokens_each

    def answered(self, began: float, ended: float, prompt_tokens: int, *, failed: bool) -> None:
        """Record a request without a stream."""
        seen = self.at(ended)
        seen.requests += 1
        seen.prompt_tokens += prompt_tokens
        if failed:
            seen.failures += 1
        else:
            seen.answer.add(ended - began)

    def used_cpu(self, now: float, percent: float) -> None:
        seen = self.at(now)
        seen.locust_cpu = max(seen.locust_cpu, percent)

    def between(self, begin: float, end: float) -> tuple[Seen, float]:
        """The sum of the whole slots in that time, and how many seconds they are."""
        first, after = math.ceil(begin / SLOT_S), math.floor(end / SLOT_S)
        total = Seen()
        for slot in range(first, after):
            if slot in self._slots:
                total.merge(self._slots[slot])
        return total, max(0, after - first) * SLOT_S

    def drain(self) -> dict[int, Any]:
        """Give away all that was recorded, as plain data."""
        slots, self._slots = self._slots, {}
        return {slot: msgspec.to_builtins(seen) for slot, seen in slots.items()}

    def merge(self, drained: Mapping[int, Any]) -> None:
        """Take in what another one gave away."""
        for slot, seen in drained.items():
            self._slots.setdefault(slot, Seen()).merge(msgspec.convert(seen, Seen))
