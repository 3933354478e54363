"""A small scoreboard and a clock that only moves when told."""

from dataclasses import dataclass

from gateway.telemetry.layout import REPLICA_OFFSETS, Layout, Shared
from gateway.telemetry.scoreboard import NS, Scoreboard


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def small_board(workers: int = 2, pools: int = 2, replicas: int = 3) -> Scoreboard:
    return Scoreboard.create(Layout(workers=workers, pools=pools, replicas=replicas))


def set_outstanding(board: Scoreboard, worker: int, slot: int, count: int) -> None:
    board.cells[board.layout.replica(worker, slot) + REPLICA_OFFSETS["replica_outstanding"]] = count


def set_last_byte(board: Scoreboard, slot: int, at: float) -> None:
    board.cells[board.layout.shared(slot) + Shared.LAST_BYTE] = int(at * NS)
