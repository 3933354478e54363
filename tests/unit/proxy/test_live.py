"""A worker's living side of the snapshot, on a scoreboard that two workers share."""

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fleet.ejection import Marks, Standing
from gateway.fleet.snapshot import Ejection, Limits, ModelName, Pool, Replica, Snapshot, State
from gateway.proxy.admission import Waiter
from gateway.proxy.lease import Lease
from gateway.proxy.live import LiveFleet, LivePool
from gateway.telemetry.layout import REPLICA_OFFSETS, Layout
from gateway.telemetry.scoreboard import Scoreboard

A, B, C = "http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://10.0.0.3:8000"
SLOTS = {A: 0, B: 1, C: 2}


def snapshot(
    number: int,
    *urls: str,
    cap: int | None = None,
    state: State = State.UP,
    key: str | None = None,
    **more: str,
) -> Snapshot:
    replicas = tuple(
        Replica(id=url, slot=SLOTS[url], state=state, models=frozenset({"m"}), authorization=key)
        for url in urls
    )
    pools = {"m": Pool(name="m", slot=0, replicas=replicas, limits=Limits(outstanding_per_replica=cap))}
    pools |= {name: Pool(name=name, slot=1) for name in more}
    names = {name: ModelName(name=name, pool=name, upstream=name, listed=True) for name in pools}
    return Snapshot(number=number, pools=pools, names=names, ejection=Ejection())


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(Layout(workers=3, pools=2, replicas=4))
    yield board
    board.close()


def fleet(board: Scoreboard, first: Snapshot, worker: int = 0) -> LiveFleet:
    live = LiveFleet(board, worker, Random(worker))
    live.apply(first)
    return live


def pool_of(live: LiveFleet) -> LivePool:
    return live.pools["m"]


def taken(pool: LivePool, count: int) -> list[Lease]:
    """As many leases as there are, up to `count`."""
    leases = (pool.lease("m", ()) for _ in range(count))
    return [lease for lease in leases if lease is not None]


# -- snapshots --


def test_a_newer_snapshot_carries_over_what_is_alive(board: Scoreboard) -> None:
    live = fleet(board, snapshot(1, A, B))
    pool, replicas = pool_of(live), dict(pool_of(live).replicas)
    lease = pool.lease("m", {B})
    live.apply(snapshot(2, A, C, key="Bearer k"))
    assert live.pools["m"] is pool
    assert pool.replicas[A] is replicas[A]
    assert pool.replicas.keys() == {A, C}
    assert pool.replicas[A].authorization == b"authorization: Bearer k\r\n"
    assert replicas[B].connections._closed
    assert board.outstanding(SLOTS[A]) == 1
    assert lease is not None
    lease.release()
    assert board.outstanding(SLOTS[A]) == 0


@pytest.mark.parametrize("number", [1, 2])
def test_an_older_snapshot_or_the_same_again_is_ignored(board: Scoreboard, number: int) -> None:
    live = fleet(board, snapshot(2, A))
    live.apply(snapshot(number, B))
    assert pool_of(live).replicas.keys() == {A}


def test_a_request_on_a_replica_that_is_gone_still_gives_its_lease_back(board: Scoreboard) -> None:
    live = fleet(board, snapshot(1, A))
    (lease,) = taken(pool_of(live), 1)
    live.apply(snapshot(2, B))
    live.apply(snapshot(3))
    lease.release()
    lease.release()
    assert board.outstanding(SLOTS[A]) == 0


def test_a_pool_that_is_gone_is_no_longer_found(board: Scoreboard) -> None:
    live = fleet(board, snapshot(1, A))
    assert "m" in live.routes
    live.apply(Snapshot(number=2))
    assert "m" not in live.routes


def test_no_name_means_the_only_pool(board: Scoreboard) -> None:
    live = fleet(board, snapshot(1, A))
    found = live.only_route
    assert found is not None
    assert found[1].name == "m"
    live.apply(snapshot(2, A, other=""))
    assert live.only_route is None
    assert "nope" not in live.routes


def test_state_limits_and_models_of_the_newest_snapshot_hold(board: Scoreboard) -> None:
    live = fleet(board, snapshot(1, A, cap=1))
    (lease,) = taken(pool_of(live), 3)
    live.apply(snapshot(2, A, cap=3))
    assert len(taken(pool_of(live), 9)) == 2
    live.apply(snapshot(3, A, state=State.REFUSED))
    assert taken(pool_of(live), 1) == []
    lease.release()


# -- leases --


def test_a_lease_is_given_back_once(board: Scoreboard) -> None:
    first, second = taken(pool_of(fleet(board, snapshot(1, A))), 2)
    for _ in range(3):
        first.release()
    assert board.outstanding(SLOTS[A]) == 1
    second.release()
    assert board.outstanding(SLOTS[A]) == 0


def test_what_was_tried_is_not_given_again(board: Scoreboard) -> None:
    pool = pool_of(fleet(board, snapshot(1, A, B)))
    lease = pool.lease("m", {A})
    assert lease is not None
    assert lease.replica.view.id == B
    assert pool.lease("m", {A, B}) is None


def test_turns_go_on_when_the_picture_changes_so_that_the_first_replica_is_not_always_first(
    board: Scoreboard,
) -> None:
    live = fleet(board, snapshot(1, A, B))
    chosen = []
    for number in range(2, 12):
        live.apply(snapshot(number, A, B))
        (lease,) = taken(pool_of(live), 1)
        chosen.append(lease.replica.view.id)
        lease.release()
    assert chosen.count(A) == chosen.count(B) == 5


def test_the_load_that_counts_is_that_of_all_workers(board: Scoreboard) -> None:
    one, other = (pool_of(fleet(board, snapshot(1, A, B), worker)) for worker in (0, 1))
    for _ in range(5):
        assert one.lease("m", {B})
    assert {lease.replica.view.id for lease in taken(other, 5)} == {B}
    assert [board.outstanding(SLOTS[url]) for url in (A, B)] == [5, 5]


def test_the_cap_holds_over_all_workers(board: Scoreboard) -> None:
    pools = [pool_of(fleet(board, snapshot(1, A, B, cap=3), worker)) for worker in range(3)]
    leases = [lease for _ in range(9) for pool in pools for lease in taken(pool, 1)]
    assert len(leases) == 6
    assert [board.outstanding(SLOTS[url]) for url in (A, B)] == [3, 3]
    leases[0].release()
    assert len(taken(pools[2], 2)) == 1


def test_two_workers_that_reserve_at_once_both_step_back(board: Scoreboard) -> None:
    pool = pool_of(fleet(board, snapshot(1, A, cap=1)))
    layout = board.layout
    theirs = layout.replica(1, SLOTS[A]) + REPLICA_OFFSETS["replica_outstanding"]
    meter = pool.replicas[A].meter

    class Racing:
        """The other worker's reservation lands between this one's choice and its check."""

        def __init__(self) -> None:
            self.reservations = 0

        def dispatched(self) -> None:
            self.reservations += 1
            meter.dispatched()
            board.cells[theirs] = 1

        def step_back(self) -> None:
            meter.step_back()

    pool.replicas[A].meter = racing = Racing()  # type: ignore[assignment]
    assert pool.lease("m", ()) is None
    assert racing.reservations == 1
    assert board.outstanding(SLOTS[A]) == 1  # the other worker's, which will step back by itself
    board.cells[theirs] = 0
    assert board.outstanding(SLOTS[A]) == 0


@settings(max_examples=30)
@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40))
def test_outstanding_is_the_number_of_open_leases_and_never_above_the_cap(
    cap: int, moves: list[tuple[int, bool]]
) -> None:
    board = Scoreboard.create(Layout(workers=3, pools=2, replicas=4))
    pools = [pool_of(fleet(board, snapshot(1, A, B, cap=cap), worker)) for worker in range(3)]
    leases: list[list[Lease]] = [[], [], []]
    for worker, wants_one in moves:
        if wants_one:
            leases[worker] += taken(pools[worker], 1)
        elif leases[worker]:
            leases[worker].pop(0).release()
        counts = [board.outstanding(SLOTS[url]) for url in (A, B)]
        assert sum(counts) == sum(map(len, leases))
        assert all(0 <= count <= cap for count in counts)
    board.close()


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(State), st.integers(0, 3), st.sampled_from([1.0, 2.0])), max_size=4),
    st.integers(0, 20),
)
def test_the_short_way_chooses_as_the_long_one(replicas: list[tuple[State, int, float]], turn: int) -> None:
    board = Scoreboard.create(Layout(workers=1, pools=1, replicas=4))
    views = tuple(
        Replica(id=f"http://10.0.0.{slot}", slot=slot, state=state, weight=weight, models=frozenset({"m"}))
        for slot, (state, _, weight) in enumerate(replicas)
    )
    pool = pool_of(fleet(board, Snapshot(number=1, pools={"m": Pool(name="m", slot=0, replicas=views)})))
    for slot, (_, load, _) in enumerate(replicas):
        board.cells[board.layout.replica(0, slot) + REPLICA_OFFSETS["replica_outstanding"]] = load
    pool._turn = turn
    short = pool.lease("m")
    if short is not None:
        short.release()
    pool._turn = turn
    long = pool._lease_with_care(pool.candidates("m"), ())
    assert (short and short.replica.view.id) == (long and long.replica.view.id)
    board.close()


# -- passive health --


def test_failures_in_a_row_eject_for_all_workers_and_a_success_begins_anew(board: Scoreboard) -> None:
    one, other = (fleet(board, snapshot(1, A, B), worker) for worker in (0, 1))
    replica = pool_of(one).replicas[A]
    for _ in range(4):
        replica.failed(Ejection())
    replica.succeeded()
    for _ in range(4):
        replica.failed(Ejection())
    assert replica.is_well() is False
    assert board.standing(SLOTS[A], 1e12) is Standing.GOOD
    pool_of(other).replicas[A].failed(Ejection())
    assert {lease.replica.view.id for lease in taken(pool_of(one), 6)} == {B}
    assert {lease.replica.view.id for lease in taken(pool_of(other), 6)} == {B}


def test_a_replica_on_trial_gets_one_request_and_another_if_that_one_proves_nothing(
    board: Scoreboard,
) -> None:
    pool = pool_of(fleet(board, snapshot(1, A, B)))
    board.set_marks(SLOTS[A], Marks(ejected_until=1.0, round=1))
    trial = pool.lease("m", {B})
    assert trial is not None
    assert pool.lease("m", {B}) is None
    trial.replica.undecided()
    again = pool.lease("m", {B})
    assert again is not None
    again.replica.succeeded()
    assert pool.lease("m", {B}) is not None
    pool.replicas[B].undecided()
    assert board.marks(SLOTS[B]) == Marks()


# -- waiting --


def test_waiting_is_worth_it_for_room_and_for_replicas_that_start_and_for_nothing_else(
    board: Scoreboard,
) -> None:
    capped = pool_of(fleet(board, snapshot(1, A, cap=1)))
    assert capped.worth_waiting("m", ())
    assert not capped.worth_waiting("m", {A})
    assert not capped.worth_waiting("unknown", ())
    assert not pool_of(fleet(board, snapshot(1, A))).worth_waiting("m", ())
    assert not pool_of(fleet(board, snapshot(1, A, cap=1, state=State.REFUSED))).worth_waiting("m", ())
    starting = Replica(id=A, slot=0, state=State.STARTING)
    waiting = Snapshot(number=1, pools={"m": Pool(name="m", slot=0, replicas=(starting,))})
    assert pool_of(fleet(board, waiting)).worth_waiting("m", ())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("gateway.proxy.live.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_the_estimate_of_a_wait_follows_the_pace_of_turns(
    board: Scoreboard, clock: SimpleNamespace
) -> None:
    pool = pool_of(fleet(board, snapshot(1, A)))
    assert pool.seconds_until_room(1) == 1.0
    clock.now += 3600  # nobody wanted room for an hour: that says nothing about it
    pool.queue.waiting.append(Waiter((0, 0), "m", ()))
    pool.begin_waiting()
    for _ in range(3):
        clock.now += 0.5
        pool.note_turn()
    assert [pool.seconds_until_room(position) for position in (1, 10, 100, 1000)] == [1.0, 5.0, 50.0, 60.0]


async def test_the_estimate_of_a_wait_grows_while_nobody_gets_a_turn(
    board: Scoreboard, clock: SimpleNamespace
) -> None:
    pool = pool_of(fleet(board, snapshot(1, A)))
    pool.queue.waiting.append(Waiter((0, 0), "m", ()))
    pool.begin_waiting()
    clock.now += 7
    assert [pool.seconds_until_room(position) for position in (1, 5, 100)] == [7.0, 35.0, 60.0]
