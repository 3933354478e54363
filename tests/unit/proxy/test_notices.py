"""Which failed requests become events, and how many."""

from dataclasses import dataclass, field

import pytest

from gateway.proxy.channel import Event
from gateway.proxy.notices import GAP_S, KEPT, LONGEST_MESSAGE, Notices
from gateway.telemetry.record import RequestRecord


@dataclass
class Desk:
    now: float = 100.0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notices = Notices(self.events.append, lambda: self.now, lambda: 5.0)

    def see(
        self, status: int, outcome: str = "error", error: str = "It broke.", replica: str = "http://a:1"
    ) -> None:
        record = RequestRecord("id-1", "127.0.0.1", "/v1/completions", 0.0)
        record.model, record.replica = "chat", replica
        record.status, record.outcome, record.error = status, outcome, error
        self.notices.observe(record)


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "complete"), (404, "error"), (429, "error"), (499, "client_gone")]
)
def test_what_is_well_or_the_client_s_doing_is_no_event(status: int, outcome: str) -> None:
    desk = Desk()
    desk.see(status, outcome)
    assert desk.events == []


def test_a_failed_request_says_who_and_why_and_which() -> None:
    desk = Desk()
    desk.see(502)
    assert desk.events == [
        Event(
            time=5.0,
            kind="request_failed",
            model="chat",
            replica="http://a:1",
            message="It broke (request id-1)",
        )
    ]


def test_a_broken_stream_is_an_event_though_its_status_was_good() -> None:
    desk = Desk()
    desk.see(200, "broken", "the connection was reset")
    assert [event.kind for event in desk.events] == ["stream_broken"]


def test_a_replica_s_own_error_answer_is_told_by_its_status() -> None:
    desk = Desk()
    desk.see(500, "complete", "")
    assert desk.events[0].message == "answered HTTP 500 (request id-1)"


def test_one_of_a_kind_in_a_while_tells_of_those_left_out() -> None:
    desk = Desk()
    for _ in range(4):
        desk.see(502)
    desk.see(502, replica="http://b:1")
    desk.see(200, "broken")
    assert len(desk.events) == 3
    desk.now += GAP_S
    desk.see(502)
    desk.now += GAP_S
    desk.see(502)
    assert [event.message for event in desk.events[3:]] == [
        "It broke (request id-1; 3 more like it before)",
        "It broke (request id-1)",
    ]


def test_a_long_story_is_cut() -> None:
    desk = Desk()
    desk.see(500, error="x" * 10_000)
    assert len(desk.events[0].message) < LONGEST_MESSAGE + 50


def test_what_is_remembered_is_bounded() -> None:
    desk = Desk()
    for number in range(3 * KEPT):
        desk.see(502, replica=f"http://r{number}:1")
    assert len(desk.events) == 3 * KEPT
    assert len(desk.notices._told) <= KEPT
