"""Shared memory in which each worker writes its own counts and everyone reads the sums.

Aligned 8-byte stores are not torn on the machines vLLM runs on, and each cell of a row has one writer, so
there are no locks: a replica's load is the sum of its column, exact at the moment it is read.
"""

import mmap
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Self

from gateway.fleet.ejection import Marks, Standing, standing
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, SHARED_CELLS, Layout, Shared

NS = 1_000_000_000
_EJECTED, _PENALISED = int(Shared.EJECTED_UNTIL), int(Shared.PENALISED_UNTIL)
_QUEUE_DEPTH = POOL_OFFSETS["queue_depth"]
_OUTSTANDING = REPLICA_OFFSETS["replica_outstanding"]


class Columns(dict[int, memoryview]):
    """One cell of a slot in all workers' rows, as a strided view made when it is first asked for."""

    def __init__(self, rows: memoryview, first: Callable[[int], int], stride: int) -> None:
        super().__init__()
        self._rows = rows
        self._first = first
        self._stride = stride

    def __missing__(self, slot: int) -> memoryview:
        column = self[slot] = self._rows[self._first(slot) :: self._stride]
        return column


class Scoreboard:
    """A mapping of the shared cells. `cells` is a view of `memory` as signed 64-bit integers."""

    def __init__(self, fd: int, layout: Layout) -> None:
        self.fd = fd
        self.layout = layout
        self.memory = mmap.mmap(fd, layout.total_bytes)
        self.cells = memoryview(self.memory).cast("q")
        self._rows = self.cells[: layout.row(layout.workers)]
        stride = layout.row_cells
        self._outstanding = Columns(self._rows, lambda slot: layout.replica(0, slot) + _OUTSTANDING, stride)
        self._queued = Columns(self._rows, lambda slot: layout.pool(0, slot) + _QUEUE_DEPTH, stride)

    @classmethod
    def create(cls, layout: Layout) -> Self:
        """A fresh scoreboard, all zero, in memory that has no name and ends with its last process."""
        if sys.platform == "linux":
            fd = os.memfd_create("vllm-gateway-scoreboard")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, layout.total_bytes)
        return cls(fd, layout)

    def close(self) -> None:
        """Unmap; other processes keep theirs."""
        for column in (*self._outstanding.values(), *self._queued.values()):
            column.release()
        self._rows.release()
        self.cells.release()
        self.memory.close()
        os.close(self.fd)

    # -- what routing reads (`gateway.fleet.routing.Board`) --

    def outstanding(self, slot: int) -> int:
        """Requests running on the replica, over all workers."""
        return sum(self._outstanding[slot])

    def calm_loads(self, slots: Sequence[int]) -> list[int] | None:
        """The requests running on each of the replicas, over all workers.

        None when passive health has something to say about one of them, which is rarely so.
        """
        cells, columns = self.cells, self._outstanding
        loads: list[int] = []
        for slot in slots:
            at = slot * SHARED_CELLS
            if cells[at + _PENALISED] or cells[at + _EJECTED]:
                return None
            loads.append(sum(columns[slot]))
        return loads

    def standing(self, slot: int, now: float) -> Standing:
        """How passive health sees the replica at `now`, in monotonic seconds."""
        cells = self.cells
        at = slot * SHARED_CELLS
        if not cells[at + Shared.EJECTED_UNTIL] and not cells[at + Shared.PENALISED_UNTIL]:
            return Standing.GOOD  # nearly always, and worth not building the marks for
        return standing(self.marks(slot), now)

    def has_marks(self, slot: int) -> bool:
        """Whether there is anything to remember of the replica."""
        at = slot * SHARED_CELLS
        return bool(self.cells[at + _PENALISED] or self.cells[at + _EJECTED])

    def marks(self, slot: int) -> Marks:
        """What passive health remembers of the replica."""
        at = slot * SHARED_CELLS
        cells = self.cells
        return Marks(
            ejected_until=cells[at + Shared.EJECTED_UNTIL] / NS,
            penalised_until=cells[at + Shared.PENALISED_UNTIL] / NS,
            consecutive_failures=cells[at + Shared.CONSECUTIVE_FAILURES],
            round=cells[at + Shared.EJECTION_ROUND],
            trial_since=cells[at + Shared.TRIAL_SINCE] / NS,
        )

    def set_marks(self, slot: int, marks: Marks) -> None:
        """Share the marks with all workers; when two write at once, the last one wins."""
        at = slot * SHARED_CELLS
        cells = self.cells
        cells[at + Shared.EJECTED_UNTIL] = int(marks.ejected_until * NS)
        cells[at + Shared.PENALISED_UNTIL] = int(marks.penalised_until * NS)
        cells[at + Shared.CONSECUTIVE_FAILURES] = marks.consecutive_failures
        cells[at + Shared.EJECTION_ROUND] = marks.round
        cells[at + Shared.TRIAL_SINCE] = int(marks.trial_since * NS)

    def queued(self, pool: int) -> int:
        """Requests waiting for a replica of the pool, over all workers."""
        return sum(self._queued[pool])

    # -- upkeep, by the control process --

    def clear_worker(self, worker: int) -> None:
        """Zero the gauges of a worker that died: its requests died with it, its counters stay."""
        for slot in range(self.layout.replicas):
            at = self.layout.replica(worker, slot)
            for name in ("replica_outstanding", "replica_connections"):
                self._zero(at + REPLICA_OFFSETS[name])

    def _zero(self, cell: int) -> None:
        # Writing only what is not zero keeps untouched pages untouched.
        if self.cells[cell]:
            self.cells[cell] = 0
