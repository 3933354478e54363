"""Summing rows: what each worker counted, by slot."""

from collections.abc import Iterator

import pytest

from gateway.telemetry.families import CLIENTS, DISPATCHED, OUTSTANDING, REQUESTS, TTFT
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, WORKER_OFFSETS, Layout
from gateway.telemetry.scoreboard import Scoreboard
from gateway.telemetry.sums import read

LAYOUT = Layout(workers=3, pools=4, replicas=8)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(LAYOUT)
    yield board
    board.close()


def test_a_pools_cells_are_summed_over_all_workers(board: Scoreboard) -> None:
    for worker, count in enumerate((5, 7, 11)):
        board.cells[LAYOUT.pool(worker, 2) + POOL_OFFSETS[REQUESTS.name]] = count
    sums = read(board, pools=3, replicas=0)
    assert sums.pool(2, REQUESTS)[0] == 23
    assert sum(sums.pool(0, REQUESTS)) == 0
    assert sum(sums.pool(2, TTFT)) == 0


def test_a_replicas_cells_are_summed_over_all_workers(board: Scoreboard) -> None:
    for worker in range(3):
        board.cells[LAYOUT.replica(worker, 7) + REPLICA_OFFSETS[OUTSTANDING.name]] = worker
        board.cells[LAYOUT.replica(worker, 7) + REPLICA_OFFSETS[DISPATCHED.name]] = 10
    sums = read(board, pools=0, replicas=8)
    assert list(sums.replica(7, OUTSTANDING)) == [3]
    assert list(sums.replica(7, DISPATCHED)) == [30]
    assert list(sums.replica(6, DISPATCHED)) == [0]


def test_worker_families_stay_apart(board: Scoreboard) -> None:
    for worker in range(3):
        board.cells[LAYOUT.row(worker) + WORKER_OFFSETS[CLIENTS.name]] = worker + 1
    assert read(board, 0, 0).workers(CLIENTS) == [[1], [2], [3]]


def test_the_last_slots_can_be_read(board: Scoreboard) -> None:
    board.cells[LAYOUT.replica(2, 7) + REPLICA_OFFSETS[DISPATCHED.name]] = 1
    assert list(read(board, LAYOUT.pools, LAYOUT.replicas).replica(7, DISPATCHED)) == [1]
