"""Passive health: failures in a row take a replica out, one trial brings it back."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.ejection import TRIAL_LIMIT_S, Marks, Standing, failed, on_trial, standing, succeeded
from gateway.fleet.snapshot import Ejection

RULES = Ejection(consecutive_failures=3, base_s=30.0, max_s=100.0, penalty_s=5.0)


def after_failures(count: int, marks: Marks | None = None, now: float = 1000.0) -> tuple[Marks, str | None]:
    reason = None
    marks = marks or Marks()
    for _ in range(count):
        marks, reason = failed(marks, now, RULES)
    return marks, reason


def test_a_replica_nothing_is_known_of_is_good() -> None:
    assert standing(Marks(), 0.0) is Standing.GOOD


def test_one_failure_penalises_for_a_moment() -> None:
    marks, reason = after_failures(1)
    assert reason is None
    assert standing(marks, 1004.9) is Standing.PENALISED
    assert standing(marks, 1005.0) is Standing.GOOD


def test_failures_in_a_row_eject() -> None:
    marks, reason = after_failures(3)
    assert reason == "consecutive_failures"
    assert standing(marks, 1029.9) is Standing.OUT


def test_a_success_in_between_starts_the_count_again() -> None:
    marks, _ = after_failures(2)
    marks = succeeded(marks, 1000.0)
    marks, reason = after_failures(2, marks)
    assert reason is None


def test_a_success_does_not_lift_the_penalty_of_the_failure_before() -> None:
    marks, _ = after_failures(1)
    assert standing(succeeded(marks, 1001.0), 1001.0) is Standing.PENALISED


def test_an_ejection_that_ran_out_is_a_trial_for_one_request() -> None:
    marks, _ = after_failures(3)
    assert standing(marks, 1030.0) is Standing.TRIAL
    marks = on_trial(marks, 1030.0)
    assert standing(marks, 1031.0) is Standing.OUT
    assert standing(marks, 1030.0 + TRIAL_LIMIT_S) is Standing.TRIAL


def test_a_passed_trial_brings_the_replica_back() -> None:
    marks = on_trial(after_failures(3)[0], 1030.0)
    assert standing(succeeded(marks, 1031.0), 1031.0) is Standing.GOOD


def test_a_failed_trial_ejects_for_longer_up_to_a_limit() -> None:
    marks, _ = after_failures(3)
    lengths = []
    for _ in range(5):
        now = marks.ejected_until
        marks, reason = failed(on_trial(marks, now), now, RULES)
        assert reason == "trial_failed"
        lengths.append(marks.ejected_until - now)
    assert lengths == [60.0, 90.0, 100.0, 100.0, 100.0]


def test_failures_of_requests_from_before_the_ejection_do_not_prolong_it() -> None:
    marks, _ = after_failures(3)
    later, reason = after_failures(20, marks, now=1010.0)
    assert reason is None
    assert later.ejected_until == marks.ejected_until


def test_an_answer_from_before_the_ejection_does_not_end_it() -> None:
    marks, _ = after_failures(3)
    assert succeeded(marks, 1010.0) == marks


events = st.lists(st.tuples(st.sampled_from(["fail", "succeed", "trial"]), st.floats(0, 200)), max_size=40)


@given(events)
def test_no_ejection_is_longer_than_the_limit_and_none_begins_without_a_reason(
    history: list[tuple[str, float]],
) -> None:
    marks, now = Marks(), 1000.0
    for event, passed in history:
        now += passed
        was_ejected = marks.ejected_until > now
        if event == "fail":
            marks, reason = failed(marks, now, RULES)
            assert (reason is None) == (was_ejected or marks.ejected_until <= now)
        elif event == "succeed":
            marks = succeeded(marks, now)
        elif standing(marks, now) is Standing.TRIAL:
            marks = on_trial(marks, now)
        assert marks.ejected_until <= now + RULES.max_s
