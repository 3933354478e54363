"""Who gets the next request."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.fleet.balance import SCAN_LIMIT
from gateway.fleet.ejection import Marks, Standing, failed, on_trial, succeeded
from gateway.fleet.routing import Candidates, Rules, choose
from gateway.fleet.snapshot import Ejection, Replica, State
from tests.unit.fleet.fleets import FakeBoard, ejected, penalised, replica

RULES = Rules(panic_threshold=0.5, cap=None)


def pick(
    replicas: list[Replica],
    board: FakeBoard | None = None,
    *,
    rules: Rules = RULES,
    tried: tuple[str, ...] = (),
    turn: int = 0,
    rng: Random | None = None,
    name: str = "m",
) -> str | None:
    chosen = choose(
        Candidates.of(replicas, name), board or FakeBoard(), rules, tried, 100.0, turn, rng or Random(0)
    )
    return chosen.id if chosen else None


def pool(*states: State) -> list[Replica]:
    return [replica(f"r{slot}", slot, state) for slot, state in enumerate(states)]


# -- candidates --


def test_only_replicas_that_have_the_adapter_are_asked_for_it() -> None:
    replicas = [replica("a", 0), replica("b", 1, models="m sql")]
    assert {pick(replicas, turn=t, name="sql") for t in range(4)} == {"b"}


@pytest.mark.parametrize("state", [State.STARTING, State.REFUSED])
def test_a_starting_or_refused_replica_is_never_asked_not_even_in_panic(state: State) -> None:
    assert pick(pool(state)) is None


def test_a_draining_replica_is_never_asked() -> None:
    assert pick([replica("a", draining=True)]) is None


def test_a_replica_of_unknown_models_is_no_candidate() -> None:
    assert pick([replica("a", models="")]) is None


def test_a_model_whose_replicas_all_start_is_starting() -> None:
    assert Candidates.of([replica("a", state=State.STARTING, models="")], "m").starting


def test_a_model_is_not_starting_when_a_replica_is_known_to_have_it() -> None:
    starting = replica("a", state=State.STARTING, models="")
    assert not Candidates.of([starting, replica("b", state=State.REFUSED)], "m").starting


def test_a_draining_replica_that_starts_does_not_make_requests_wait_for_it() -> None:
    starting = replica("a", state=State.STARTING, models="", draining=True)
    assert not Candidates.of([starting], "m").starting


# -- balance --


def test_two_stuck_streams_on_one_of_two_replicas_send_ten_requests_to_the_other() -> None:
    board = FakeBoard({0: 2})
    for turn in range(10):
        chosen = pick(pool(State.UP, State.UP), board, turn=turn)
        assert chosen == "r1"
        board.counts[1] = 0  # each ends before the next begins


def test_equal_loads_spread_evenly() -> None:
    counts = Counter(pick(pool(*[State.UP] * 3), turn=turn) for turn in range(300))
    assert set(counts.values()) == {100}


def test_weights_shift_the_balance() -> None:
    replicas = [replica("a", 0), replica("b", 1, weight=3.0)]
    board = FakeBoard({0: 1, 1: 3})
    assert pick(replicas, board) == "b"
    board.counts[1] = 6
    assert pick(replicas, board) == "a"


def test_a_tried_replica_is_not_asked_again() -> None:
    assert pick(pool(State.UP, State.UP), FakeBoard({1: 9}), tried=("r0",)) == "r1"
    assert pick(pool(State.UP, State.UP), tried=("r0", "r1")) is None


def test_a_full_replica_is_passed_over_and_when_all_are_full_nobody_is_chosen() -> None:
    rules = Rules(0.5, cap=2)
    assert pick(pool(State.UP, State.UP), FakeBoard({0: 2, 1: 1}), rules=rules) == "r1"
    assert pick(pool(State.UP, State.UP), FakeBoard({0: 2, 1: 2}), rules=rules) is None


def test_a_replica_that_fails_fast_does_not_attract_traffic() -> None:
    board = FakeBoard({0: 0, 1: 50}, marks={0: penalised(105.0)})
    assert pick(pool(State.UP, State.UP), board) == "r1"
    board.marks[0] = penalised(99.0)
    assert pick(pool(State.UP, State.UP), board) == "r0"


def test_when_all_are_penalised_the_least_loaded_is_asked() -> None:
    board = FakeBoard({0: 1}, marks={0: penalised(105.0), 1: penalised(105.0)})
    assert pick(pool(State.UP, State.UP), board) == "r1"


def test_a_penalised_replica_is_asked_when_the_others_are_full() -> None:
    board = FakeBoard({1: 2}, marks={0: penalised(105.0)})
    assert pick(pool(State.UP, State.UP), board, rules=Rules(0.5, cap=2)) == "r0"


# -- ejection and panic --


def usable(replicas: list[Replica], board: FakeBoard, threshold: float = 0.5) -> tuple[list[str], bool]:
    found, panic = Candidates.of(replicas, "m").usable(board, 100.0, threshold)
    return [r.id for r in found], panic


def test_an_ejected_replica_is_left_out_until_its_time_is_over() -> None:
    replicas = pool(State.UP, State.UP)
    assert usable(replicas, FakeBoard(marks={0: ejected(101.0)})) == (["r1"], False)
    assert usable(replicas, FakeBoard(marks={0: ejected(100.0)})) == (["r0", "r1"], False)


def test_a_replica_on_trial_is_asked_once_and_then_left_alone() -> None:
    board = FakeBoard(marks={0: ejected(99.0)}, counts={1: 1})
    assert pick(pool(State.UP, State.UP), board) == "r0"
    board.marks[0] = on_trial(board.marks[0], 100.0)
    assert pick(pool(State.UP, State.UP), board) == "r1"


def test_below_the_panic_threshold_ejections_are_not_believed() -> None:
    board = FakeBoard(marks={0: ejected(101.0), 1: ejected(101.0)})
    assert usable(pool(*[State.UP] * 3), board) == (["r0", "r1", "r2"], True)


def test_a_threshold_of_zero_still_believes_the_last_healthy_replica() -> None:
    board = FakeBoard(marks={0: ejected(101.0), 1: ejected(101.0)})
    assert usable(pool(*[State.UP] * 3), board, threshold=0.0) == (["r2"], False)


def test_when_all_probes_time_out_requests_still_flow() -> None:
    assert usable(pool(*[State.UNRESPONSIVE] * 2), FakeBoard()) == (["r0", "r1"], True)


def test_failing_replicas_are_the_last_resort() -> None:
    assert usable(pool(State.FAILING, State.FAILING), FakeBoard()) == (["r0", "r1"], True)
    assert usable(pool(State.FAILING, State.UNRESPONSIVE), FakeBoard()) == (["r1"], True)
    assert usable(pool(State.FAILING, State.FAILING, State.UP), FakeBoard()) == (["r2"], False)


def test_where_nobody_listens_there_is_no_panic() -> None:
    assert usable(pool(State.REFUSED), FakeBoard()) == ([], False)


def test_a_hung_engine_is_never_asked_not_even_in_panic() -> None:
    board = FakeBoard(marks={0: ejected(101.0), 1: ejected(101.0)})
    hung = [replica(f"r{slot}", slot, hung=True) for slot in range(2)]
    assert usable(hung, board) == ([], False)
    assert usable([*hung, replica("r2", 2)], board) == (["r2"], False)
    assert usable([*hung, replica("r2", 2, State.UNRESPONSIVE)], board) == (["r2"], True)


# -- large pools --

LARGE = [replica(f"r{slot}", slot) for slot in range(SCAN_LIMIT + 1)]


def test_a_large_pool_is_asked_by_two_choices() -> None:
    rng = Random(7)
    picks = Counter(pick(LARGE, rng=rng) for _ in range(1300))
    assert len(picks) == len(LARGE)
    assert max(picks.values()) < 60


def test_of_two_choices_the_less_loaded_per_weight_is_taken() -> None:
    board = FakeBoard(dict.fromkeys(range(1, SCAN_LIMIT + 1), 5))
    rng = Random(3)
    picks = Counter(pick(LARGE, board, rng=rng) for _ in range(1300))
    assert picks["r0"] > 1300 / len(LARGE) * 1.4


def test_a_large_pool_with_one_free_place_finds_it() -> None:
    board = FakeBoard(dict.fromkeys(range(1, SCAN_LIMIT + 1), 1))
    assert pick(LARGE, board, rules=Rules(0.5, cap=1)) == "r0"


def test_a_large_pool_with_one_replica_that_does_not_fail_finds_it() -> None:
    board = FakeBoard(marks=dict.fromkeys(range(1, SCAN_LIMIT + 1), penalised(101.0)))
    assert pick(LARGE, board) == "r0"


# -- the whole, over time --


class Traffic(RuleBasedStateMachine):
    """Requests come and go while replicas change state, against a model that counts leases by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.board = FakeBoard()
        self.replicas = pool(*[State.UP] * 4)
        self.leases: list[Replica] = []
        self.now = 0.0
        self.turn = 0

    @rule(cap=st.sampled_from([None, 1, 3]), tried=st.sets(st.sampled_from(["r0", "r1", "r2", "r3"])))
    def request(self, cap: int | None, tried: set[str]) -> None:
        candidates = Candidates.of(self.replicas, "m")
        self.turn += 1
        chosen = choose(
            candidates, self.board, Rules(0.5, cap), tried, self.now, self.turn, Random(self.turn)
        )
        found, panic = candidates.usable(self.board, self.now, 0.5)
        if chosen is None:
            full = [
                cap is not None and self.board.outstanding(r.slot) >= cap for r in found if r.id not in tried
            ]
            assert all(full), "a replica with room was overlooked"
            return
        assert chosen.id not in tried
        assert chosen.state not in {State.STARTING, State.REFUSED}
        assert not chosen.draining
        assert not chosen.hung
        assert cap is None or self.board.outstanding(chosen.slot) < cap
        assert panic or self.board.standing(chosen.slot, self.now) is not Standing.OUT
        self.board.counts[chosen.slot] = self.board.outstanding(chosen.slot) + 1
        self.leases.append(chosen)
        if self.board.standing(chosen.slot, self.now) is Standing.TRIAL:
            self.board.marks[chosen.slot] = on_trial(self.board.marks[chosen.slot], self.now)
            assert self.board.standing(chosen.slot, self.now) is Standing.OUT, (
                "a second request joined the trial"
            )

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        self.board.counts[lease.slot] -= 1

    @rule(slot=st.integers(0, 3), state=st.sampled_from(State), draining=st.booleans(), hung=st.booleans())
    def change(self, slot: int, state: State, draining: bool, hung: bool) -> None:  # noqa: FBT001
        self.replicas[slot] = replica(f"r{slot}", slot, state, draining=draining, hung=hung)

    @rule(slot=st.integers(0, 3))
    def fail(self, slot: int) -> None:
        marks = self.board.marks.get(slot, Marks())
        self.board.marks[slot], _ = failed(marks, self.now, Ejection(consecutive_failures=2))

    @rule(slot=st.integers(0, 3))
    def succeed(self, slot: int) -> None:
        self.board.marks[slot] = succeeded(self.board.marks.get(slot, Marks()), self.now)

    @rule(passed=st.floats(0, 60))
    def wait(self, passed: float) -> None:
        self.now += passed

    @invariant()
    def outstanding_is_the_number_of_open_leases(self) -> None:
        for slot in range(4):
            assert self.board.outstanding(slot) == sum(lease.slot == slot for lease in self.leases)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.lists(st.tuples(st.sampled_from(State), st.booleans(), st.booleans()), max_size=8), st.floats(0, 1))
def test_panic_never_returns_fewer_than_health_would(
    fleet: list[tuple[State, bool, bool]], threshold: float
) -> None:
    replicas = [replica(f"r{i}", i, s, draining=d) for i, (s, d, _) in enumerate(fleet)]
    board = FakeBoard(marks={i: ejected(200.0) for i, (_, _, out) in enumerate(fleet) if out})
    candidates = Candidates.of(replicas, "m")
    found, panic = candidates.usable(board, 100.0, threshold)
    healthy = [r for r in candidates.ready if board.standing(r.slot, 100.0) is not Standing.OUT]
    assert set(healthy) <= set(found)
    assert panic or list(found) == healthy
