"""Reading the scoreboard whole: the sums of all workers' rows, by slot and family.

Used by whoever shows numbers (exposition, status), never by routing, which needs one column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

from gateway.telemetry.families import Family
from gateway.telemetry.layout import (
    POOL_CELLS,
    POOL_OFFSETS,
    REPLICA_CELLS,
    REPLICA_OFFSETS,
    WORKER_CELLS,
    WORKER_OFFSETS,
    size,
)
from gateway.telemetry.scoreboard import Scoreboard

Cells = Sequence[int]


@dataclass(frozen=True, slots=True)
class Sums:
    """What the workers have counted. Counts of workers that died are in it, so counters never go down."""

    _pools: Cells
    _replicas: Cells
    _workers: tuple[Cells, ...]

    def pool(self, slot: int, family: Family) -> Cells:
        """The cells of a pool family, summed over workers."""
        at = slot * POOL_CELLS + POOL_OFFSETS[family.name]
        return self._pools[at : at + size(family)]

    def replica(self, slot: int, family: Family) -> Cells:
        """The cells of a replica family, summed over workers."""
        at = slot * REPLICA_CELLS + REPLICA_OFFSETS[family.name]
        return self._replicas[at : at + size(family)]

    def workers(self, family: Family) -> list[Cells]:
        """The cells of a worker family, one entry a worker, in the workers' order."""
        at = WORKER_OFFSETS[family.name]
        return [cells[at : at + size(family)] for cells in self._workers]


def read(board: Scoreboard, pools: int, replicas: int) -> Sums:
    """Sum the first `pools` pool slots and `replicas` replica slots over all rows.

    Rows are copied slice by slice, so a number is at most a copy older than its neighbour.
    """
    layout = board.layout
    rows = range(layout.workers)
    return Sums(
        _pools=_added([_copy(board, layout.pool(row, 0), pools * POOL_CELLS) for row in rows]),
        _replicas=_added([_copy(board, layout.replica(row, 0), replicas * REPLICA_CELLS) for row in rows]),
        _workers=tuple(_copy(board, layout.row(row), WORKER_CELLS) for row in rows),
    )


def _copy(board: Scoreboard, first: int, count: int) -> list[int]:
    with board.cells[first : first + count] as view:
        return view.tolist()


def _added(rows: list[list[int]]) -> list[int]:
    total = rows[0]
    for row in rows[1:]:
        total = list(map(add, total, row))
    return total
