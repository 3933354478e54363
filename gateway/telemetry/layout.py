"""Where each number lies on the scoreboard.

    [ shared cells of all replicas ][ row of worker 0 ][ row of worker 1 ] … [ exemplars of worker 0 ] …
    row = [ worker families ][ pool 0 ][ pool 1 ] … [ replica 0 ][ replica 1 ] …
    exemplars = [ pool 0 ][ pool 1 ] …, apart from the rows because they are no numbers to be summed

A cell is 8 aligned bytes. Rows have one writer each; the shared cells have many, and hold only values for
which the last writer may win.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from gateway.telemetry.families import (
    EXEMPLIFIED,
    POOL_FAMILIES,
    REPLICA_FAMILIES,
    WORKER_FAMILIES,
    Counter,
    Family,
    Gauge,
    Histogram,
)

CELL_BYTES = 8


class Shared(IntEnum):
    """The cells that all workers write for one replica. Times are ns of the monotonic clock."""

    EJECTED_UNTIL = 0
    PENALISED_UNTIL = 1
    CONSECUTIVE_FAILURES = 2
    EJECTION_ROUND = 3
    """How often it was ejected in a row: the multiplier of the next ejection."""
    TRIAL_SINCE = 4
    LAST_BYTE = 5
    """When any stream of the replica last moved."""


SHARED_CELLS = 8  # one 64-byte cache line a replica, so that neighbours do not slow each other down


def size(family: Family) -> int:
    """Cells that a family takes."""
    match family:
        case Counter():
            return len(family.values)
        case Gauge():
            return 1
        case Histogram():
            return buckets(family) + 1  # and the sum


def buckets(family: Histogram) -> int:
    """One a bound, and +Inf."""
    return len(family.bounds) + 1


def offsets(families: Sequence[Family]) -> dict[str, int]:
    """First cell of each family, by name, when they lie one after the other."""
    found: dict[str, int] = {}
    at = 0
    for family in families:
        found[family.name] = at
        at += size(family)
    return found


def _padded(families: Sequence[Family]) -> int:
    return -(-sum(size(f) for f in families) // 8) * 8


POOL_OFFSETS = offsets(POOL_FAMILIES)
REPLICA_OFFSETS = offsets(REPLICA_FAMILIES)
WORKER_OFFSETS = offsets(WORKER_FAMILIES)
POOL_CELLS = _padded(POOL_FAMILIES)
REPLICA_CELLS = _padded(REPLICA_FAMILIES)
WORKER_CELLS = _padded(WORKER_FAMILIES)

EXEMPLAR_CELLS = 8  # for one bucket: a cache line
EXEMPLAR_OFFSETS = {
    family.name: EXEMPLAR_CELLS * sum(map(buckets, EXEMPLIFIED[:at])) for at, family in enumerate(EXEMPLIFIED)
}
POOL_EXEMPLAR_CELLS = EXEMPLAR_CELLS * sum(map(buckets, EXEMPLIFIED))


@dataclass(frozen=True, slots=True)
class Layout:
    """The dimensions of one scoreboard; every process that maps it must use the same ones."""

    workers: int
    pools: int = 128
    replicas: int = 1024

    @property
    def row_cells(self) -> int:
        """Cells of one worker's row."""
        return WORKER_CELLS + self.pools * POOL_CELLS + self.replicas * REPLICA_CELLS

    @property
    def total_bytes(self) -> int:
        """Size of the mapping. Untouched pages cost nothing."""
        return self.exemplars(self.workers, 0) * CELL_BYTES

    def shared(self, replica: int) -> int:
        """First shared cell of a replica's slot."""
        return replica * SHARED_CELLS

    def row(self, worker: int) -> int:
        """First cell of a worker's row."""
        return self.replicas * SHARED_CELLS + worker * self.row_cells

    def pool(self, worker: int, pool: int) -> int:
        """First cell of a pool's slot in a worker's row."""
        return self.row(worker) + WORKER_CELLS + pool * POOL_CELLS

    def replica(self, worker: int, replica: int) -> int:
        """First cell of a replica's slot in a worker's row."""
        return self.row(worker) + WORKER_CELLS + self.pools * POOL_CELLS + replica * REPLICA_CELLS

    def exemplars(self, worker: int, pool: int) -> int:
        """First cell of the exemplars that a worker keeps for a pool."""
        return self.row(self.workers) + (worker * self.pools + pool) * POOL_EXEMPLAR_CELLS
