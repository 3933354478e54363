"""What the status page draws: samples taken every few seconds, and the history document made of them."""

from collections.abc import Mapping, Sequence

from gateway.control.admin.report import Clocks, outstanding
from gateway.control.admin.source import Source
from gateway.control.admin.status import PoolHistory
from gateway.fleet.snapshot import Pool
from gateway.telemetry.exposition import slots_used
from gateway.telemetry.families import QUEUE_DEPTH
from gateway.telemetry.series import Point, Series
from gateway.telemetry.summaries import History
from gateway.telemetry.sums import Sums, read


class Charts:
    """The samples of the last minutes. Whoever shows figures reads them, `sample` alone adds to them."""

    def __init__(self) -> None:
        self.history = History()
        self._series = Series()

    def sample(self, source: Source, now: Clocks) -> None:
        """Remember what has been counted so far; call it every few seconds."""
        pools = tuple(source.snapshot.pools.values())
        sums = read(source.board, *slots_used(pools))
        self._series.add({pool.name: self._point(pool, sums, now) for pool in pools})
        self.history.record(now.monotonic, pools, sums)

    def since(self, time: float) -> tuple[PoolHistory, ...]:
        """The history document of what came after a moment in seconds since the epoch; 0 is all there is."""
        return columns(self._series.since(time))

    def _point(self, pool: Pool, sums: Sums, now: Clocks) -> Point:
        lately = self.history.moment(now.monotonic, pool, sums)
        first, between = lately.time_to_first_token, lately.inter_token_latency
        return Point(
            # As the document says it, or a watcher would get the last point again.
            time=round(now.epoch, 3),
            requests_per_s=lately.requests_per_s,
            server_errors_per_s=lately.server_errors_per_s,
            ttft_p50_s=first.p50_s,
            ttft_p95_s=first.p95_s,
            itl_p50_s=between.p50_s,
            itl_p95_s=between.p95_s,
            outstanding=outstanding(pool, sums),
            queue_depth=sums.pool(pool.slot, QUEUE_DEPTH)[0],
        )


def columns(points: Mapping[str, Sequence[Point]]) -> tuple[PoolHistory, ...]:
    """Points as columns, with no more digits than a chart can show."""
    return tuple(
        PoolHistory(
            pool=pool,
            time=tuple(point.time for point in moments),
            requests_per_s=tuple(round(point.requests_per_s, 4) for point in moments),
            server_errors_per_s=tuple(round(point.server_errors_per_s, 4) for point in moments),
            ttft_p50_s=tuple(_rounded(point.ttft_p50_s) for point in moments),
            ttft_p95_s=tuple(_rounded(point.ttft_p95_s) for point in moments),
            itl_p50_s=tuple(_rounded(point.itl_p50_s) for point in moments),
            itl_p95_s=tuple(_rounded(point.itl_p95_s) for point in moments),
            outstanding=tuple(point.outstanding for point in moments),
            queue_depth=tuple(point.queue_depth for point in moments),
        )
        for pool, moments in points.items()
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
