"""How each pool did over the last minutes, moment by moment, for the small charts of people who watch.

Keeps finished numbers, no counters: a quarter of an hour of one pool takes 40 KB.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WINDOW_S = 900.0


@dataclass(frozen=True, slots=True)
class Point:
    """One pool at one moment: rates and quantiles of the seconds before it, gauges as they stood.

    `time` is seconds since the epoch. A quantile is None where nothing was observed.
    """

    time: float
    requests_per_s: float
    server_errors_per_s: float
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None
    outstanding: int
    queue_depth: int


class Series:
    """The points of the last `window_s` seconds by pool. A pool that is gone takes its points with it."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._points: dict[str, deque[Point]] = {}

    def add(self, points: Mapping[str, Point]) -> None:
        """Take one point of every pool there is now."""
        self._points = {name: self._points.get(name, deque()) for name in points}
        for name, point in points.items():
            kept = self._points[name]
            kept.append(point)
            while kept[0].time <= point.time - self._window_s:
                kept.popleft()

    def since(self, time: float) -> dict[str, Sequence[Point]]:
        """What came after a moment (0: everything), oldest first, without the pools that have nothing new."""
        fresh = {name: [p for p in points if p.time > time] for name, points in self._points.items()}
        return {name: points for name, points in fresh.items() if points}
