"""What a worker writes: one small object a pool and a replica, with the cell numbers worked out once.

Each method is one or two integer adds on shared memory. No locks: a row has one writer.
"""

from bisect import bisect_left

from gateway.telemetry import families as f
from gateway.telemetry.exemplars import ExemplarCells
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, SHARED_CELLS, WORKER_OFFSETS, Shared
from gateway.telemetry.record import RequestRecord
from gateway.telemetry.scoreboard import NS, Scoreboard

_CODE_INDEX = {code: i for i, code in enumerate(f.CODES)}
_CODE_OF_CLASS = {int(code[0]): i for i, code in enumerate(f.CODES) if code.endswith("xx")}
_STATUS_INDEX = {n: _CODE_INDEX.get(str(n), _CODE_OF_CLASS[n // 100]) for n in range(100, 600)}
_RETRY_INDEX = {reason: i for i, reason in enumerate(f.RETRY_REASONS)}
_RESUME_INDEX = {outcome: i for i, outcome in enumerate(f.RESUME_OUTCOMES)}
_SHED_INDEX = {reason: i for i, reason in enumerate(f.SHED_REASONS)}
_EJECTION_INDEX = {reason: i for i, reason in enumerate(f.EJECTION_REASONS)}


class _HistogramCells:
    """The cells of one histogram in one row."""

    __slots__ = ("_bounds", "_cells", "_first", "_sum")

    def __init__(self, cells: memoryview, first: int, family: f.Histogram) -> None:
        self._cells = cells
        self._first = first
        self._bounds = family.bounds
        self._sum = first + len(family.bounds) + 1

    def observe(self, seconds: float) -> int:
        """Count one duration in the bucket it returns. Bounds are inclusive, as Prometheus's `le` is."""
        cells = self._cells
        bucket = bisect_left(self._bounds, seconds)
        cells[self._first + bucket] += 1
        cells[self._sum] += int(seconds * NS)
        return bucket


class PoolMeter:
    """One worker's counts of one pool."""

    __slots__ = (
        *("_at", "_cells", "_durations", "_received", "_requests", "_sent", "_ttfts"),
        *("duration", "itl", "overhead", "queue_wait", "ttft"),
    )

    def __init__(self, board: Scoreboard, worker: int, slot: int) -> None:
        self._cells = board.cells
        first = board.layout.pool(worker, slot)
        self._at = {name: first + offset for name, offset in POOL_OFFSETS.items()}
        self._requests = self._at["requests"]
        self._sent = self._at["request_body_bytes"]
        self._received = self._at["response_body_bytes"]
        self.duration = self._histogram(f.DURATION)
        self.ttft = self._histogram(f.TTFT)
        self.itl = self._histogram(f.ITL)
        self.queue_wait = self._histogram(f.QUEUE_WAIT)
        self.overhead = self._histogram(f.OVERHEAD)
        self._durations = ExemplarCells(board, worker, slot, f.DURATION)
        self._ttfts = ExemplarCells(board, worker, slot, f.TTFT)

    def _histogram(self, family: f.Histogram) -> _HistogramCells:
        return _HistogramCells(self._cells, self._at[family.name], family)

    def finished(self, record: RequestRecord, *, gone: bool) -> None:
        """Count a request that is over; `gone` says that its client left before the end."""
        cells = self._cells
        cells[self._requests + _STATUS_INDEX[record.status]] += 1
        cells[self._sent] += record.request_bytes
        cells[self._received] += record.response_bytes
        if gone:
            cells[self._at["client_disconnects"]] += 1
        received_at, ended_at = record.received_at, record.ended_at
        took = ended_at - received_at
        self._durations.offer(self.duration.observe(took), took, record.request_id, ended_at)
        if record.first_byte_at:
            ttft = record.first_byte_at - received_at
            self._ttfts.offer(self.ttft.observe(ttft), ttft, record.request_id, ended_at)
        if record.sent_at:
            self.overhead.observe(record.sent_at - received_at - record.queued_s)

    def retry(self, reason: str) -> None:
        """Count a request that goes to another replica before its first byte."""
        self._cells[self._at["retries"] + _RETRY_INDEX[reason]] += 1

    def resumed(self, outcome: str) -> None:
        """Count a stream whose replica failed in the middle."""
        self._cells[self._at["resumed_streams"] + _RESUME_INDEX[outcome]] += 1

    def shed(self, reason: str) -> None:
        """Count a request that was refused."""
        self._cells[self._at["shed"] + _SHED_INDEX[reason]] += 1

    def broken(self) -> None:
        """Count an answer that had begun and could not be finished."""
        self._cells[self._at["broken_streams"]] += 1

    def queued(self, change: int) -> None:
        """Move the depth of this worker's queue by `change`."""
        self._cells[self._at["queue_depth"]] += change


class ReplicaMeter:
    """One worker's counts of one replica."""

    __slots__ = ("_at", "_cells", "_dispatched", "_last_byte", "_outstanding")

    def __init__(self, board: Scoreboard, worker: int, slot: int) -> None:
        self._cells = board.cells
        first = board.layout.replica(worker, slot)
        self._at = {name: first + offset for name, offset in REPLICA_OFFSETS.items()}
        self._outstanding = self._at["replica_outstanding"]
        self._dispatched = self._at["replica_requests"]
        self._last_byte = slot * SHARED_CELLS + Shared.LAST_BYTE

    def dispatched(self) -> None:
        """One more request runs on the replica."""
        cells = self._cells
        cells[self._outstanding] += 1
        cells[self._dispatched] += 1

    def step_back(self) -> None:
        """Undo `dispatched`: the reservation went over the cap."""
        self._cells[self._outstanding] -= 1
        self._cells[self._at["replica_requests"]] -= 1

    def ended(self) -> None:
        """One request less runs on the replica."""
        self._cells[self._outstanding] -= 1

    def failure(self) -> None:
        """Count a failure of the replica."""
        self._cells[self._at["replica_failures"]] += 1

    def ejection(self, reason: str) -> None:
        """Count that the replica was taken out."""
        self._cells[self._at["replica_ejections"] + _EJECTION_INDEX[reason]] += 1

    def connections(self, change: int) -> None:
        """Move the number of open connections by `change`."""
        self._cells[self._at["replica_connections"]] += change

    def moved(self, now: float) -> None:
        """Note that an answer of the replica moved, for whoever looks for hung engines. Never goes back."""
        moved = int(now * NS)
        self._cells[self._last_byte] = max(self._cells[self._last_byte], moved)


class WorkerMeter:
    """One worker's counts of itself."""

    __slots__ = ("_at", "_cells")

    def __init__(self, board: Scoreboard, worker: int) -> None:
        self._cells = board.cells
        first = board.layout.row(worker)
        self._at = {name: first + offset for name, offset in WORKER_OFFSETS.items()}

    def loop_lag(self, seconds: float) -> None:
        """Say how late the loop was."""
        self._cells[self._at["event_loop_lag_seconds"]] = int(seconds * NS)

    def clients(self, change: int) -> None:
        """Move the number of open client connections by `change`."""
        self._cells[self._at["client_connections"]] += change

    def unrouted(self, status: int) -> None:
        """Count a request that belongs to no pool."""
        self._cells[self._at["unrouted_requests"] + _STATUS_INDEX[status]] += 1

    def resume_buffer(self, change: int) -> None:
        """Move the number of bytes kept for resuming by `change`."""
        self._cells[self._at["resume_buffer_bytes"]] += change
