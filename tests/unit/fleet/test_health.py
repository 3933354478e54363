"""What one probe does to what is known, as the table in the design says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.health import Health, Probe, observe
from gateway.fleet.snapshot import State

FALL = 3


def after(*probes: Probe, start: Health | None = None) -> Health:
    health = start or Health()
    for now, probe in enumerate(probes, start=1):
        health = observe(health, probe, probe.value, float(now), FALL)
    return health


def test_a_new_replica_is_starting_not_healthy_by_assumption() -> None:
    assert Health().state is State.STARTING


@pytest.mark.parametrize("before", list(State))
def test_one_success_brings_a_replica_back_from_anything(before: State) -> None:
    assert after(Probe.OK, start=Health(before, timeouts=7)) == Health(
        State.UP, 0.0 if before is State.UP else 1.0, "ok", 0
    )


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize(
    ("probe", "verdict"), [(Probe.REFUSED, State.REFUSED), (Probe.BAD_STATUS, State.FAILING)]
)
def test_a_refusal_and_a_5xx_are_verdicts_at_once(before: State, probe: Probe, verdict: State) -> None:
    assert after(probe, start=Health(before)).state is verdict


def test_a_timeout_is_a_hint_until_it_happens_three_times_in_a_row() -> None:
    assert after(Probe.OK, Probe.TIMEOUT, Probe.TIMEOUT).state is State.UP
    assert after(Probe.OK, Probe.TIMEOUT, Probe.TIMEOUT, Probe.TIMEOUT).state is State.UNRESPONSIVE


def test_a_success_between_timeouts_starts_the_count_again() -> None:
    calm = (Probe.OK, Probe.TIMEOUT, Probe.TIMEOUT)
    assert after(*calm, *calm, *calm).state is State.UP


def test_a_hint_keeps_the_reason_of_the_last_verdict() -> None:
    assert after(Probe.REFUSED, Probe.TIMEOUT) == Health(State.REFUSED, 1.0, "refused", 1)


def test_since_is_when_the_state_changed_not_when_it_was_confirmed() -> None:
    assert after(Probe.OK, Probe.REFUSED, Probe.REFUSED, Probe.REFUSED).since == 2


def test_a_replica_that_stays_unresponsive_keeps_the_moment_it_became_so() -> None:
    assert after(*[Probe.TIMEOUT] * 5).since == FALL


def test_a_slow_health_check_under_load_never_takes_a_replica_out() -> None:
    assert after(*[Probe.OK, Probe.TIMEOUT] * 50).state is State.UP


@given(st.lists(st.sampled_from(Probe), max_size=30), st.integers(1, 5))
def test_up_means_a_success_that_nothing_but_too_few_timeouts_followed(
    probes: list[Probe], fall: int
) -> None:
    health = Health()
    for probe in probes:
        health = observe(health, probe, "", 0.0, fall)
    last_verdict = next((p for p in reversed(probes) if p is not Probe.TIMEOUT), None)
    trailing = 0
    for probe in reversed(probes):
        if probe is not Probe.TIMEOUT:
            break
        trailing += 1
    assert health.timeouts == trailing
    assert (health.state is State.UP) == (last_verdict is Probe.OK and trailing < fall)
