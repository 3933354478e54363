"""Rates and quantiles over the last minutes, for people who look at a status page without Prometheus.

Keeps samples of the scoreboard's sums and subtracts them. Reads no clock: `now` comes in as an argument.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import sub

from gateway.fleet.snapshot import Pool
from gateway.telemetry.families import (
    BROKEN,
    CODES,
    DISCONNECTS,
    DURATION,
    ITL,
    REQUESTS,
    RESUMED,
    RETRIES,
    SHED,
    TTFT,
    Counter,
    Histogram,
)
from gateway.telemetry.sums import Cells, Sums

SAMPLE_INTERVAL_S = 5.0
WINDOW_S = 300.0
"""What quantiles look back on: enough observations even where little is asked."""
RATE_WINDOW_S = 60.0
"""What rates look back on: an operator wants to see a change soon."""
POINT_WINDOW_S = 15.0
"""What one point of a chart looks back on: three samples, so that one slow request is no spike for ever."""
_SERVER_ERRORS = tuple(code.startswith("5") for code in CODES)
_LATENCIES = (TTFT, ITL, DURATION)
_TROUBLES: tuple[Counter, ...] = (BROKEN, RESUMED, RETRIES, SHED, DISCONNECTS)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Median and 95th percentile in seconds; None where nothing was observed."""

    p50_s: float | None = None
    p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """How often something went wrong: a counter's name, its label's value if it has one, and its increase."""

    kind: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One pool: rates per second over the last minute, quantiles and troubles over the last five."""

    requests_per_s: float = 0.0
    server_errors_per_s: float = 0.0
    time_to_first_token: Quantiles = Quantiles()
    inter_token_latency: Quantiles = Quantiles()
    duration: Quantiles = Quantiles()
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sample:
    time: float
    pools: Mapping[str, tuple[int, Cells]]
    """Slot and counted cells of each pool; the slot tells whether a name is still the same pool."""


@dataclass(frozen=True, slots=True)
class _Increase:
    elapsed_s: float
    cells: Cells


class History:
    """The samples of the last `window_s` seconds, taken by calling `record` now and then."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[_Sample] = deque()

    def __len__(self) -> int:
        """How many samples are kept."""
        return len(self._samples)

    def record(self, now: float, pools: Iterable[Pool], sums: Sums) -> None:
        """Keep what has been counted so far, and forget what is older than the window."""
        self._samples.append(_Sample(now, {pool.name: (pool.slot, _counted(pool, sums)) for pool in pools}))
        while len(self._samples) > 1 and self._samples[1].time <= now - self._window_s:
            self._samples.popleft()

    def summary(self, now: float, pool: Pool, sums: Sums) -> Summary:
        """What happened between the samples and now; all empty while there is no sample of this pool."""
        return self._summary(now, pool, sums, RATE_WINDOW_S, self._window_s)

    def moment(self, now: float, pool: Pool, sums: Sums) -> Summary:
        """The same for one point of a chart, all of it over the last seconds."""
        return self._summary(now, pool, sums, POINT_WINDOW_S, POINT_WINDOW_S)

    def _summary(self, now: float, pool: Pool, sums: Sums, rate_s: float, window_s: float) -> Summary:
        counted = _counted(pool, sums)
        since = self._increase_since(now - window_s, now, pool, counted)
        lately = self._increase_since(now - rate_s, now, pool, counted)
        if since is None or lately is None:
            return Summary()
        first, between, whole, *troubles = _parts(since.cells)
        requests = lately.cells[: len(CODES)]
        errors = sum(count for count, bad in zip(requests, _SERVER_ERRORS, strict=True) if bad)
        return Summary(
            requests_per_s=sum(requests) / lately.elapsed_s,
            server_errors_per_s=errors / lately.elapsed_s,
            time_to_first_token=_quantiles(TTFT, first),
            inter_token_latency=_quantiles(ITL, between),
            duration=_quantiles(DURATION, whole),
            troubles=tuple(_troubles(troubles)),
        )

    def _increase_since(self, start: float, now: float, pool: Pool, counted: Cells) -> "_Increase | None":
        """What was added since the newest sample at or before `start`, else since the oldest there is."""
        usable = [s for s in self._samples if s.time < now and _slot(s, pool.name) == pool.slot]
        if not usable:
            return None
        old = next((s for s in reversed(usable) if s.time <= start), usable[0])
        return _Increase(now - old.time, _added(counted, old.pools[pool.name][1]))


def quantile(q: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """The q-quantile of a histogram, interpolated within its bucket as PromQL's `histogram_quantile` does.

    Args:
        q: between 0 and 1.
        bounds: upper bounds of the buckets, ascending, without +Inf.
        counts: observations in each bucket (not cumulative), +Inf last: one more than `bounds`.

    Returns:
        None without observations; the highest bound when the quantile lies above it.
    """
    rank = q * sum(counts)
    if not any(counts):
        return None
    below = 0
    for (lower, upper), count in zip(pairwise((0.0, *bounds)), counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return float(bounds[-1])


def _counted(pool: Pool, sums: Sums) -> Cells:
    cells = list(sums.pool(pool.slot, REQUESTS))
    for family in _LATENCIES:
        cells += sums.pool(pool.slot, family)[:-1]
    for trouble in _TROUBLES:
        cells += sums.pool(pool.slot, trouble)
    return cells


def _slot(sample: _Sample, pool: str) -> int | None:
    found = sample.pools.get(pool)
    return None if found is None else found[0]


def _added(newest: Cells, oldest: Cells) -> Cells:
    """What was added; a counter that went down was zeroed between the samples."""
    added = list(map(sub, newest, oldest))
    return added if min(added) >= 0 else newest


def _parts(cells: Cells) -> Iterator[Cells]:
    """What follows the requests: a part for each histogram, then for each kind of trouble."""
    sizes = [len(family.bounds) + 1 for family in _LATENCIES] + [len(family.values) for family in _TROUBLES]
    at = len(CODES)
    for size in sizes:
        yield cells[at : at + size]
        at += size


def _troubles(parts: Iterable[Cells]) -> Iterator[Trouble]:
    for family, counts in zip(_TROUBLES, parts, strict=True):
        for value, count in zip(family.values, counts, strict=True):
            if count:
                yield Trouble(family.name, value, count)


def _quantiles(family: Histogram, counts: Cells) -> Quantiles:
    return Quantiles(quantile(0.5, family.bounds, counts), quantile(0.95, family.bounds, counts))
