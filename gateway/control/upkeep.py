"""The scoreboard's upkeep: slots for pools and replicas, zeroed between two owners, and dead workers' gauges.

Control writes to the scoreboard only here and where it ejects a hung engine. The cells are those of somebody
who is gone: a removed pool or replica, a dead worker.
"""

from collections.abc import Callable, Mapping

from gateway.fleet.slots import SlotTable
from gateway.telemetry.families import POOL_FAMILIES, WORKER_FAMILIES, Gauge
from gateway.telemetry.layout import (
    POOL_CELLS,
    POOL_EXEMPLAR_CELLS,
    POOL_OFFSETS,
    REPLICA_CELLS,
    SHARED_CELLS,
    WORKER_OFFSETS,
)
from gateway.telemetry.scoreboard import Scoreboard

QUARANTINE_S = 10.0
"""How long a released slot rests at least: until every worker has applied the snapshot that released it."""

_POOL_GAUGES = tuple(POOL_OFFSETS[f.name] for f in POOL_FAMILIES if isinstance(f, Gauge))
_WORKER_GAUGES = tuple(WORKER_OFFSETS[f.name] for f in WORKER_FAMILIES if isinstance(f, Gauge))


class SlotKeeper:
    """Gives slots out and takes them back. `now` is the monotonic clock."""

    def __init__(self, board: Scoreboard, now: Callable[[], float]) -> None:
        self._board = board
        self._now = now
        self._pools = SlotTable(board.layout.pools)
        self._replicas = SlotTable(board.layout.replicas)
        self._released_at: dict[tuple[str, str], float] = {}
        self._members: dict[str, frozenset[int]] = {}

    @property
    def pools(self) -> Mapping[str, int]:
        """Slots of the pools, by name."""
        return self._pools.taken

    @property
    def replicas(self) -> Mapping[str, int]:
        """Slots of the replicas, by URL."""
        return self._replicas.taken

    def assign(self, urls: list[str], pools: Mapping[str, list[str]]) -> list[str]:
        """Make the slots those of these replicas and of these pools with their members.

        Returns a warning for each kind of which there are more than the scoreboard holds.
        """
        warnings = [
            f"the gateway holds {capacity} {kind}, so {', '.join(homeless)} can't be used"
            for kind, capacity, homeless in (
                ("replicas", self._board.layout.replicas, self._replicas.assign(urls)),
                ("models", self._board.layout.pools, self._pools.assign(pools)),
            )
            if homeless
        ]
        taken = self._replicas.taken
        for name, members in pools.items():
            self._members[name] = frozenset(taken[url] for url in members if url in taken)
        return warnings

    def tidy(self) -> None:
        """Zero released slots in which nothing runs any more, and free them for others."""
        for url, slot in self._rested("replica", self._replicas):
            if self._board.outstanding(slot) == 0:
                zero_replica(self._board, slot)
                self._replicas.clean(url)
        for name, slot in self._rested("pool", self._pools):
            members = self._members[name]
            if self._board.queued(slot) == 0 and not any(map(self._board.outstanding, members)):
                zero_pool(self._board, slot)
                self._pools.clean(name)
                del self._members[name]

    def _rested(self, kind: str, table: SlotTable) -> list[tuple[str, int]]:
        """The released slots of one kind that have rested long enough."""
        now = self._now()
        for key in [key for of, key in self._released_at if of == kind and key not in table.released]:
            del self._released_at[kind, key]
        since = {key: self._released_at.setdefault((kind, key), now) for key in table.released}
        return [(key, slot) for key, slot in table.released.items() if now - since[key] >= QUARANTINE_S]


def zero_replica(board: Scoreboard, slot: int) -> None:
    """Forget everything about the replica that had this slot."""
    _zero(board, board.layout.shared(slot), SHARED_CELLS)
    for worker in range(board.layout.workers):
        _zero(board, board.layout.replica(worker, slot), REPLICA_CELLS)


def zero_pool(board: Scoreboard, slot: int) -> None:
    """Forget everything that was counted for the pool that had this slot."""
    for worker in range(board.layout.workers):
        _zero(board, board.layout.pool(worker, slot), POOL_CELLS)
        _zero(board, board.layout.exemplars(worker, slot), POOL_EXEMPLAR_CELLS)


def clear_dead_worker(board: Scoreboard, worker: int) -> None:
    """Zero what a dead worker was doing. What it had counted stays, so that sums never go down."""
    board.clear_worker(worker)
    row = board.layout.row(worker)
    pools = (board.layout.pool(worker, slot) for slot in range(board.layout.pools))
    for first, offsets in ((row, _WORKER_GAUGES), *((first, _POOL_GAUGES) for first in pools)):
        for offset in offsets:
            _zero(board, first + offset, 1)


def _zero(board: Scoreboard, first: int, count: int) -> None:
    # Writing only what is not zero keeps untouched pages untouched.
    for cell in range(first, first + count):
        if board.cells[cell]:
            board.cells[cell] = 0
