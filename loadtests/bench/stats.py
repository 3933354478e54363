"""Medians, spreads and ratios of repeated measurements. Pure.

Ratios are taken within one repetition, where two peers ran minutes apart on one machine, and only then summed
up: a machine that gets slower over the hour then costs nobody.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.bench.measure import Measurement

ADDED_MEDIAN = "added_latency_us"
"""Not measured but derived: a peer's median latency less that of `direct` in the same repetition."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, the smallest and the largest of them, and how many there were."""

    median: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of some values; None if there are none."""
    known = sorted(values)
    return Spread(statistics.median(known), known[0], known[-1], len(known)) if known else None


class Results:
    """Measurements by cell and repetition. A disturbed run counts only where there is no better one."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        """Take all measurements of a run; of several for one cell and repetition the last one holds."""
        self._last = {(m.peer, m.scenario, m.repetition): m for m in measurements}
        self.peers = list(dict.fromkeys(m.peer for m in measurements))
        self.scenarios = list(dict.fromkeys(m.scenario for m in measurements))

    def runs(self, peer: str, scenario: str) -> list[Measurement]:
        """All runs of a cell, failed ones too."""
        return [m for m in self._last.values() if (m.peer, m.scenario) == (peer, scenario)]

    def counted(self, peer: str, scenario: str) -> list[Measurement]:
        """The runs of a cell whose figures count."""
        figures = [m for m in self.runs(peer, scenario) if m.has_figures()]
        return [m for m in figures if not m.is_disturbed()] or figures

    def by_repetition(self, peer: str, scenario: str, metric: str) -> dict[int, float]:
        """A metric of a cell: repetition → value."""
        if metric == ADDED_MEDIAN:
            own = self.by_repetition(peer, scenario, "latency_p50_us")
            direct = self.by_repetition("direct", scenario, "latency_p50_us")
            return {
                repetition: own[repetition] - direct[repetition] for repetition in own.keys() & direct.keys()
            }
        return {m.repetition: m.metrics[metric] for m in self.counted(peer, scenario) if metric in m.metrics}

    def value(self, peer: str, scenario: str, metric: str) -> Spread | None:
        """A metric of a cell over its repetitions."""
        return spread(self.by_repetition(peer, scenario, metric).values())

    def ratio(self, peer: str, other: str, scenario: str, metric: str) -> Spread | None:
        """How many times the other's figure this peer has, over the repetitions both have."""
        return ratio(self.by_repetition(peer, scenario, metric), self.by_repetition(other, scenario, metric))

    def errors(self, peer: str, scenario: str) -> int:
        return sum(m.errors for m in self.runs(peer, scenario))


def ratio(own: Mapping[int, float], other: Mapping[int, float]) -> Spread | None:
    """Ratios of values that share a repetition."""
    return spread(own[key] / other[key] for key in own.keys() & other.keys() if other[key] > 0)
