"""The soak's verdict."""

from typing import Any

from loadtests.slope import Sample
from loadtests.soak import summarise

FLAT = [Sample(float(n), n * 100, 80_000_000, 40) for n in range(30)]
IDLE = Sample(0.0, 0, 80_000_000, 20)


def client(**figures: object) -> dict[str, Any]:
    counters = ("bad_status", "bad_connection", "bad_http", "bad_answer", "unfinished", "events", "hung_up")
    return {**dict.fromkeys(counters, 0), "first_error": "", **figures}


def test_a_soak_passes_when_nothing_grows_and_nothing_fails() -> None:
    summary = summarise(IDLE, FLAT, IDLE, {"small": client(events=7, hung_up=2)})
    assert summary["passed"]
    assert (summary["requests"], summary["stream events"], summary["clients that hung up"]) == (2900, 7, 2)


def test_a_soak_fails_on_a_request_that_did_not_end_well() -> None:
    summary = summarise(IDLE, FLAT, IDLE, {"small": client(bad_status=1, first_error="status 502")})
    assert not summary["passed"]
    assert summary["requests that did not end well"] == {"small": "1: status 502"}


def test_a_soak_fails_on_descriptors_that_stay_open() -> None:
    summary = summarise(IDLE, FLAT, Sample(99.0, 0, 80_000_000, 60), {"small": client()})
    assert not summary["descriptors are flat"]
    assert not summary["passed"]


def test_a_soak_fails_on_memory_that_grows() -> None:
    growing = [Sample(float(n), n, 80_000_000 + n * 1_000_000, 40) for n in range(30)]
    summary = summarise(IDLE, growing, IDLE, {"small": client()})
    assert not summary["memory is flat"]
    assert not summary["passed"]
