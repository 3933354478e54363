"""What happens after a server ended."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.launch.failures import Failure, FailureKind
from gateway.launch.supervision.policy import (
    Again,
    Decision,
    Ending,
    GiveUp,
    Policy,
    Record,
    Replan,
    decide,
)

POLICY = Policy(first_pause_s=1.0, longest_pause_s=10.0, settled_s=300.0, most_failures=6)
CRASH = Ending("it ended with status 1", lived_s=5.0)
FAILED_START = Ending("it ended with status 1", lived_s=None)


def failing(kind: FailureKind, lived_s: float | None = None) -> Ending:
    return Ending("why", lived_s, Failure(kind, "advice"))


def run(*endings: Ending) -> list[Decision]:
    """What is decided after each."""
    record, decisions = Record(), []
    for ending in endings:
        record, decision = decide(POLICY, record, ending)
        decisions.append(decision)
    return decisions


def test_pauses_grow_up_to_a_limit_and_then_it_is_given_up() -> None:
    *pauses, last = run(*[CRASH] * 6)
    assert pauses == [Again(1.0), Again(2.0), Again(4.0), Again(8.0), Again(10.0)]
    assert last == GiveUp("it failed 6 times in a row; the last time it ended with status 1")


def test_one_that_was_up_for_long_starts_with_a_clean_record() -> None:
    settled = Ending("it was ended by SIGKILL", lived_s=300.0)
    assert run(*[CRASH] * 5, settled, CRASH)[-2:] == [Again(1.0), Again(2.0)]
    almost = Ending("it was ended by SIGKILL", lived_s=299.0)
    assert isinstance(run(*[CRASH] * 5, almost)[-1], GiveUp)


def test_a_start_without_memory_is_planned_anew_once() -> None:
    short = failing(FailureKind.MEMORY)
    assert run(short, short, short) == [Replan(), Again(2.0), Again(4.0)]


def test_memory_that_runs_out_while_serving_is_no_question_of_the_plan() -> None:
    assert run(failing(FailureKind.MEMORY, lived_s=20.0)) == [Again(1.0)]


def test_a_start_that_can_only_fail_again_is_given_up_at_once() -> None:
    assert run(failing(FailureKind.SETTINGS)) == [GiveUp("why")]
    assert run(failing(FailureKind.SETTINGS, lived_s=1.0)) == [Again(1.0)]


def test_a_disturbed_start_is_tried_again() -> None:
    assert run(failing(FailureKind.BUSY)) == [Again(1.0)]


lives = st.none() | st.floats(0, 1000)
endings = st.builds(
    Ending,
    st.just("why"),
    lives,
    st.none() | st.builds(Failure, st.sampled_from(list(FailureKind)), st.just("advice")),
)


@given(st.lists(endings, max_size=40))
def test_whatever_happens_it_is_replanned_once_and_never_hammered(history: list[Ending]) -> None:
    record, failures = Record(), 0
    decisions: list[Decision] = []
    for ending in history:
        record, decision = decide(POLICY, record, ending)
        settled = ending.lived_s is not None and ending.lived_s >= POLICY.settled_s
        failures = 1 if settled else failures + 1
        decisions.append(decision)
        if isinstance(decision, GiveUp):
            break
        assert failures < POLICY.most_failures or isinstance(decision, Replan)
        if isinstance(decision, Again):
            assert POLICY.first_pause_s <= decision.pause_s <= POLICY.longest_pause_s
    assert sum(isinstance(decision, Replan) for decision in decisions) <= 1
