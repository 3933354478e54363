"""Is a resource flat? Samples over time → growth over the window. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WARM_UP_SHARE = 1 / 3
"""Pools fill and allocators settle at first: what counts is the rest."""
FLAT_SHARE = 0.03
"""Growth over the window, as a share of the level, that still counts as flat: allocator noise."""
FLAT_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway's process tree at one moment."""

    at_s: float
    requests: int
    pss_bytes: int
    open_files: int


@dataclass(frozen=True, slots=True)
class Growth:
    """A straight line through the samples after the warm-up."""

    level: float
    per_hour: float
    over_window: float
    window_s: float

    def is_flat(self) -> bool:
        return self.over_window <= max(FLAT_SHARE * self.level, FLAT_BYTES)


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """The samples after the warm-up."""
    return list(samples[int(len(samples) * WARM_UP_SHARE) :])


def memory_growth(samples: Sequence[Sample]) -> Growth:
    """How memory moves after the warm-up; needs at least two samples there."""
    kept = settled(samples)
    times = [sample.at_s for sample in kept]
    line = statistics.linear_regression(times, [float(sample.pss_bytes) for sample in kept])
    window_s = times[-1] - times[0]
    return Growth(
        level=statistics.median(sample.pss_bytes for sample in kept),
        per_hour=line.slope * 3600,
        over_window=line.slope * window_s,
        window_s=window_s,
    )
