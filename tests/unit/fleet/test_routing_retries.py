"""Where a request goes that has failed once already."""

from random import Random

from gateway.fleet.routing import Candidates, Rules, choose
from gateway.fleet.snapshot import State
from tests.unit.fleet.fleets import FakeBoard, ejected, replica

BUSY, OUT, MUTE, TRIED = "busy", "out", "mute", "tried"
REPLICAS = [replica(BUSY, 0), replica(OUT, 1), replica(MUTE, 2, State.UNRESPONSIVE), replica(TRIED, 3)]


def picks(tried: set[str], cap: int | None = None) -> set[str | None]:
    board = FakeBoard(counts={0: 5, 3: 9}, marks={1: ejected(200.0), 3: ejected(200.0)})
    candidates = Candidates.of(REPLICAS, "m")
    chosen = [
        choose(candidates, board, Rules(0.5, cap), tried, 100.0, turn, Random(turn)) for turn in range(8)
    ]
    return {each.id if each else None for each in chosen}


def test_in_panic_a_first_attempt_may_go_anywhere_and_the_next_one_goes_where_all_is_well() -> None:
    assert picks(set()) == {MUTE}
    assert picks({TRIED}) == {BUSY}


def test_where_nobody_is_well_or_has_room_the_next_attempt_takes_what_there_is() -> None:
    assert picks({TRIED}, cap=5) == {MUTE}
    assert picks({TRIED, BUSY}) == {MUTE}
    assert picks({TRIED, BUSY, MUTE}) == {OUT}
