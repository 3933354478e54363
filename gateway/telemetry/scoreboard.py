"""Shared memory in which each worker writes its own counts and everyone reads the sums.

Aligned 8-byte stores are not torn on the machines vLLM runs on, and each cell of a row has one writer, so
there are no locks: a replica's load is the sum of its column, exact at the moment it is read.
"""

import mmap
import os
import sys
import tempfile
from typing import Self

from gateway.telemetry.layout import REPLICA_OFFSETS, SHARED_CELLS, Layout, Shared

NS = 1_000_000_000
_OUTSTANDING = REPLICA_OFFSETS["replica_outstanding"]


class Scoreboard:
    """A mapping of the shared cells. `cells` is a view of signed 64-bit integers."""

    def __init__(self, fd: int, layout: Layout) -> None:
        self.fd = fd
        self.layout = layout
        self._map = mmap.mmap(fd, layout.total_bytes)
        self.cells = memoryview(self._map).cast("q")
        self._columns: dict[int, memoryview] = {}

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
        for column in self._columns.values():
            column.release()
        self.cells.release()
        self._map.close()
        os.close(self.fd)

    # -- what routing reads (`gateway.fleet.routing.Board`) --

    def outstanding(self, slot: int) -> int:
        """Requests running on the replica, over all workers."""
        return sum(self.column(slot))

    def ejected_until(self, slot: int) -> float:
        """Monotonic seconds; 0 when the replica was never ejected."""
        return self.cells[slot * SHARED_CELLS + Shared.EJECTED_UNTIL] / NS

    def penalised_until(self, slot: int) -> float:
        """Monotonic seconds until which the replica is asked last."""
        return self.cells[slot * SHARED_CELLS + Shared.PENALISED_UNTIL] / NS

    def column(self, slot: int) -> memoryview:
        """The outstanding cells of one replica in all workers' rows, as a strided view."""
        column = self._columns.get(slot)
        if column is None:
            first = self.layout.replica(0, slot) + _OUTSTANDING
            column = self._columns[slot] = self.cells[first :: self.layout.row_cells]
        return column

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
