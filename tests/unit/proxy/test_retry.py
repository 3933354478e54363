"""What is repeated elsewhere, and what counts against a replica."""

import contextlib

import pytest

from gateway.fleet.snapshot import Retries
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.retry import RetryBudget, is_replica_fault, retry_reason

DRAINING = b'{"error":{"message":"cannot schedule new futures after shutdown"}}'
DEAD = b'{"error":{"message":"EngineCore encountered an issue. See stack trace (above)"}}'


@pytest.mark.parametrize(
    ("failure", "status", "body", "reason"),
    [
        (Failure.STATUS, 429, b"", "status_429"),
        (Failure.STATUS, 502, b"", "status_502"),
        (Failure.STATUS, 503, b"", "status_503"),
        (Failure.STATUS, 500, b"the model's own fault", None),
        (Failure.STATUS, 500, DRAINING, "draining"),
        (Failure.STATUS, 500, DEAD, "engine_error"),
        (Failure.ERROR_EVENT, 200, b"", "engine_error"),
        (Failure.ABORTED, 200, b"", "engine_error"),
        (Failure.CLOSED, 0, b"", "reset"),
        (Failure.TRUNCATED, 200, b"", "reset"),
        (Failure.HUNG, 0, b"", "hung"),
        (Failure.FIRST_BYTE_TIMEOUT, 0, b"", None),
        (Failure.IDLE_TIMEOUT, 200, b"", None),
        (Failure.TOTAL_TIMEOUT, 0, b"", None),
        (Failure.SHUTDOWN, 0, b"", None),
        (None, 200, b"", None),
    ],
)
def test_only_what_can_not_have_been_answered_is_repeated(
    failure: Failure | None, status: int, body: bytes, reason: str | None
) -> None:
    assert retry_reason(Ended(failure), status, body) == reason


@pytest.mark.parametrize(
    ("status", "fault"), [(429, False), (500, True), (501, False), (502, True), (503, True)]
)
def test_too_many_requests_and_not_implemented_are_no_fault_of_the_replica(status: int, fault: bool) -> None:  # noqa: FBT001
    assert is_replica_fault(Ended(Failure.STATUS), status) is fault


@pytest.mark.parametrize(
    ("failure", "fault"),
    [
        *(
            (Failure.CLOSED, True),
            (Failure.TRUNCATED, True),
            (Failure.ERROR_EVENT, True),
            (Failure.ABORTED, True),
        ),
        *((Failure.FIRST_BYTE_TIMEOUT, True), (Failure.IDLE_TIMEOUT, True)),
        *((Failure.TOTAL_TIMEOUT, False), (Failure.SHUTDOWN, False), (None, False)),
        (Failure.STARTED_OVER, False),
    ],
)
def test_broken_answers_and_silence_are_its_fault_and_our_own_limits_are_not(
    failure: Failure | None,
    fault: bool,  # noqa: FBT001
) -> None:
    assert is_replica_fault(Ended(failure), 200) is fault


def test_retries_stay_a_share_of_the_requests_but_a_few_are_always_allowed() -> None:
    budget = RetryBudget()
    budget.active = 100
    with contextlib.ExitStack() as running:
        for _ in range(19):
            running.enter_context(budget.retrying())
        assert budget.may_retry(Retries(budget=0.2, min_concurrent=3))
        running.enter_context(budget.retrying())
        assert not budget.may_retry(Retries(budget=0.2, min_concurrent=3))
        assert budget.may_retry(Retries(budget=0.2, min_concurrent=30))
    assert budget.may_retry(Retries(budget=0.2, min_concurrent=3))


def test_a_retry_that_fails_is_given_back_to_the_budget() -> None:
    budget = RetryBudget()
    with contextlib.suppress(RuntimeError), budget.retrying():
        assert not budget.may_retry(Retries(budget=0, min_concurrent=1))
        raise RuntimeError
    assert budget.may_retry(Retries(budget=0, min_concurrent=1))
