"""Slots change hands only when nothing runs in them, and clean."""

from collections.abc import Iterator

import pytest

from gateway.control.upkeep import QUARANTINE_S, SlotKeeper, clear_dead_worker
from gateway.fleet.ejection import Marks
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, WORKER_OFFSETS
from gateway.telemetry.scoreboard import Scoreboard
from tests.unit.control.boards import Clock, set_outstanding, small_board


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = small_board()
    yield board
    board.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(board: Scoreboard, clock: Clock) -> SlotKeeper:
    return SlotKeeper(board, clock)


def rest(keeper: SlotKeeper, clock: Clock) -> None:
    keeper.tidy()
    clock.now += QUARANTINE_S
    keeper.tidy()


def test_a_removed_replicas_slot_is_free_after_it_was_zeroed(
    board: Scoreboard, keeper: SlotKeeper, clock: Clock
) -> None:
    keeper.assign(["a", "b", "c"], {})
    board.cells[board.layout.replica(1, 0) + REPLICA_OFFSETS["replica_requests"]] = 41
    board.set_marks(0, Marks(ejected_until=9999.0, round=3))
    keeper.assign(["b", "c"], {})
    rest(keeper, clock)
    assert keeper.assign(["b", "c", "d"], {}) == []
    assert keeper.replicas["d"] == 0
    assert board.cells[board.layout.replica(1, 0) + REPLICA_OFFSETS["replica_requests"]] == 0
    assert board.marks(0) == Marks()


def test_a_slot_in_which_a_request_still_runs_is_not_given_away(
    board: Scoreboard, keeper: SlotKeeper, clock: Clock
) -> None:
    keeper.assign(["a", "b", "c"], {})
    set_outstanding(board, 1, 0, 1)
    keeper.assign(["b", "c"], {})
    rest(keeper, clock)
    assert keeper.assign(["b", "c", "d"], {}) == ["the gateway holds 3 replicas, so d can't be used"]
    set_outstanding(board, 1, 0, 0)
    rest(keeper, clock)
    assert keeper.assign(["b", "c", "d"], {}) == []


def test_a_slot_rests_until_every_worker_knows_that_it_was_released(keeper: SlotKeeper, clock: Clock) -> None:
    keeper.assign(["a", "b", "c"], {})
    keeper.assign(["b", "c"], {})
    keeper.tidy()
    clock.now += QUARANTINE_S - 1
    keeper.tidy()
    assert keeper.assign(["b", "c", "d"], {}) != []


def test_a_replica_that_comes_back_in_time_starts_its_rest_anew_when_it_leaves_again(
    keeper: SlotKeeper, clock: Clock
) -> None:
    keeper.assign(["a", "b", "c"], {})
    keeper.assign(["b", "c"], {})
    keeper.tidy()
    keeper.assign(["a", "b", "c"], {})
    keeper.tidy()
    clock.now += QUARANTINE_S
    keeper.assign(["b", "c"], {})
    keeper.tidy()
    assert keeper.assign(["b", "c", "d"], {}) != []


def test_a_pools_slot_is_kept_while_requests_of_its_replicas_run_or_wait(
    board: Scoreboard, keeper: SlotKeeper, clock: Clock
) -> None:
    keeper.assign(["a"], {"x": ["a"], "y": []})
    set_outstanding(board, 0, 0, 1)
    waiting = board.layout.pool(1, 0) + POOL_OFFSETS["queue_depth"]
    board.cells[waiting] = 1
    keeper.assign([], {"y": []})
    rest(keeper, clock)
    assert keeper.assign([], {"y": [], "z": []}) == ["the gateway holds 2 models, so z can't be used"]
    set_outstanding(board, 0, 0, 0)
    rest(keeper, clock)
    assert keeper.assign([], {"y": [], "z": []}) != []
    board.cells[waiting] = 0
    rest(keeper, clock)
    assert keeper.assign([], {"y": [], "z": []}) == []
    assert keeper.pools == {"y": 1, "z": 0}


def test_what_a_dead_worker_was_doing_is_zeroed_and_what_it_had_counted_stays(board: Scoreboard) -> None:
    layout = board.layout
    doing = (
        layout.replica(1, 2) + REPLICA_OFFSETS["replica_outstanding"],
        layout.replica(1, 2) + REPLICA_OFFSETS["replica_connections"],
        layout.pool(1, 1) + POOL_OFFSETS["queue_depth"],
        layout.row(1) + WORKER_OFFSETS["client_connections"],
        layout.row(1) + WORKER_OFFSETS["event_loop_lag_seconds"],
        layout.row(1) + WORKER_OFFSETS["resume_buffer_bytes"],
    )
    counted = (
        layout.replica(1, 2) + REPLICA_OFFSETS["replica_requests"],
        layout.pool(1, 1) + POOL_OFFSETS["requests"],
        layout.row(1) + WORKER_OFFSETS["unrouted_requests"],
        layout.replica(0, 2) + REPLICA_OFFSETS["replica_outstanding"],
    )
    for cell in (*doing, *counted):
        board.cells[cell] = 5
    clear_dead_worker(board, 1)
    assert [board.cells[cell] for cell in doing] == [0] * len(doing)
    assert [board.cells[cell] for cell in counted] == [5] * len(counted)
