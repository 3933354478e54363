"""Fault switches as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.faults import NO_FAULTS, TOKEN_FAULTS, FaultDraw, Faults, changed, parse_setting


def test_no_faults_means_nothing_is_wrong() -> None:
    assert not NO_FAULTS.refuses
    assert not NO_FAULTS.freezes
    assert NO_FAULTS.token_trip() is None


def test_the_earliest_token_fault_strikes() -> None:
    faults = Faults(reset_after_tokens=5, truncate_after_tokens=3)
    assert faults.token_trip() == (3, "truncate_after_tokens")


def test_a_fault_after_no_token_is_a_fault() -> None:
    for name in TOKEN_FAULTS:
        assert changed(NO_FAULTS, {name: 0}).token_trip() == (0, name)


def test_terminating_refuses_and_freezes() -> None:
    faults = Faults(terminating=True)
    assert faults.refuses
    assert faults.freezes


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("refuse", ("refuse", True)),
        ("refuse=off", ("refuse", False)),
        ("status=503", ("status", 503)),
        ("health_delay_s=0.5", ("health_delay_s", 0.5)),
        ("health_delay_s=2", ("health_delay_s", 2)),
        ("retry_after=7", ("retry_after", "7")),
        ("hang_after_tokens=0", ("hang_after_tokens", 0)),
    ],
)
def test_settings_are_read_from_the_command_line(setting: str, expected: tuple[str, object]) -> None:
    assert parse_setting(setting) == expected


@pytest.mark.parametrize("setting", ["status", "status=x", "status=1.5", "refuse=3", "nope=1", ""])
def test_settings_that_fit_no_fault_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        parse_setting(setting)


def test_none_puts_a_fault_back() -> None:
    assert changed(Faults(status=503, freeze=True), {"status": None}) == Faults(freeze=True)


@given(times=st.integers(0, 20), requests=st.integers(0, 40))
def test_times_counts_the_requests_that_are_struck(times: int, requests: int) -> None:
    draw = FaultDraw(Faults(status=500, times=times))
    struck = [draw.next_request().status == 500 for _ in range(requests)]
    assert struck == [number < times for number in range(requests)]


def test_times_counts_only_those_that_probability_chose() -> None:
    draw = FaultDraw(Faults(status=500, times=5, probability=0.3, seed=1))
    assert sum(draw.next_request().status == 500 for _ in range(200)) == 5
