"""Who is late, by a clock that the test moves."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.fleet.snapshot import State, Timeouts
from gateway.proxy.deadlines import SILENT_S, Deadlines
from gateway.proxy.outcome import Failure
from gateway.proxy.relay import Relay


@dataclass(eq=False)
class FakeRelay:
    """An attempt whose state a test sets, and what was said to it."""

    job: Any
    replica: Any
    last_progress: float = 100.0
    first_byte_at: float = 0.0
    ended: list[object] = field(default_factory=list)

    def fail(self, failure: Failure, _: str) -> None:
        self.ended.append(failure)

    def client_gone(self) -> None:
        self.ended.append("gone")


class Watched:
    """Deadlines with one attempt whose request came at 100 s."""

    def __init__(self, *, begun: bool = False, **timeouts: float) -> None:
        self.now = 100.0
        self.closed: list[bool] = []
        self.moved: list[float] = []
        self.unsent = 0
        self.client = SimpleNamespace(
            slow=False,
            unsent_bytes=lambda: self.unsent,
            hang_up=lambda *, flush: self.closed.append(flush),
        )
        job = SimpleNamespace(
            pool=SimpleNamespace(view=SimpleNamespace(timeouts=Timeouts(**timeouts))),
            received_at=100.0,
            answer=SimpleNamespace(begun=begun),
            client=self.client,
            tape=None,
            body=b"prompt",
            asked_body=b"prompt",
        )
        self.view = SimpleNamespace(state=State.UP, hung=False)
        meter = SimpleNamespace(moved=self.moved.append)
        self.replica = SimpleNamespace(view=self.view, meter=meter, last_byte_at=0.0)
        self.relay = FakeRelay(job, self.replica)
        self.deadlines = Deadlines(clock=lambda: self.now, hang_s=50.0)
        self.deadlines.add(cast("Relay", self.relay))

    def at(self, now: float) -> list[object]:
        """What the attempt was told by a sweep at this time."""
        self.now = now
        self.relay.ended.clear()
        self.deadlines.sweep()
        return self.relay.ended


@pytest.mark.parametrize(
    ("begun", "tape", "kept"), [(False, None, True), (True, None, False), (True, "a tape", True)]
)
def test_a_body_is_kept_as_long_as_it_may_be_sent_again(*, begun: bool, tape: object, kept: bool) -> None:
    watched = Watched(begun=begun)
    watched.relay.job.tape = tape
    watched.at(100.0)
    assert (watched.relay.job.body, watched.relay.job.asked_body) == (
        (b"prompt",) * 2 if kept else (b"",) * 2
    )


def test_silence_before_the_first_byte_is_counted_from_the_request_s_arrival() -> None:
    watched = Watched(first_byte_s=10, idle_s=1)
    watched.relay.last_progress = 109.9  # of the second attempt, say
    assert watched.at(110.0) == []
    assert watched.at(110.1) == [Failure.FIRST_BYTE_TIMEOUT]


def test_silence_after_it_is_counted_from_the_last_byte() -> None:
    watched = Watched(begun=True, first_byte_s=1, idle_s=10)
    watched.relay.last_progress = 150.0
    assert watched.at(160.0) == []
    assert watched.at(160.1) == [Failure.IDLE_TIMEOUT]


@pytest.mark.parametrize("begun", [True, False])
def test_the_whole_answer_has_a_limit_where_one_is_set(begun: bool) -> None:  # noqa: FBT001
    unlimited, limited = Watched(begun=begun), Watched(begun=begun, total_s=20)
    for watched in (unlimited, limited):
        watched.relay.last_progress = 120.0
        assert watched.at(120.0) == []
        watched.relay.last_progress = 120.1
    assert unlimited.at(120.1) == []
    assert limited.at(120.1) == [Failure.TOTAL_TIMEOUT]


def test_a_reader_that_takes_something_now_and_then_is_slow_and_one_that_takes_nothing_is_let_go() -> None:
    watched = Watched(begun=True, idle_s=10)
    watched.client.slow = True
    for now, unsent in ((200.0, 9000), (209.0, 9000), (209.5, 8999), (219.0, 8999), (219.5, 8999)):
        watched.unsent = unsent
        assert watched.at(now) == []
    assert watched.at(219.6) == ["gone"]
    assert watched.closed == [False]


def test_a_reader_that_caught_up_in_between_starts_anew_even_with_as_much_unsent_as_before() -> None:
    watched = Watched(begun=True, idle_s=10)
    watched.unsent = 70_000
    watched.client.slow = True
    assert watched.at(200.0) == []
    watched.client.slow = False
    watched.relay.last_progress = 290.0
    assert watched.at(291.0) == []
    watched.client.slow = True
    assert watched.at(300.0) == []
    assert watched.at(310.1) == ["gone"]


@pytest.mark.parametrize("begun", [True, False])
def test_silence_of_a_replica_that_refuses_or_hangs_is_its_end(begun: bool) -> None:  # noqa: FBT001
    watched = Watched(begun=begun)
    watched.view.state = State.REFUSED
    assert watched.at(100.0 + SILENT_S / 2) == []
    assert watched.at(100.0 + SILENT_S) == [Failure.CLOSED]
    watched.view.state, watched.view.hung = State.UP, True
    assert watched.at(100.0 + SILENT_S) == [Failure.HUNG]
    # While tokens arrive, the probes are wrong; and a slow client's silence is not the replica's.
    watched.relay.last_progress = 100.0 + SILENT_S
    assert watched.at(100.0 + SILENT_S) == []
    watched.client.slow = True
    assert watched.at(105.0) == []


def test_progress_is_reported_once_there_is_any_also_at_the_end() -> None:
    watched = Watched()
    watched.at(100.1)
    assert watched.moved == []
    watched.relay.first_byte_at = watched.relay.last_progress = 101.0
    watched.at(101.1)
    watched.relay.last_progress = 102.0
    watched.deadlines.discard(cast("Relay", watched.relay))
    assert watched.moved == [101.0, 102.0]


def test_an_attempt_that_is_over_is_not_looked_at() -> None:
    watched = Watched(first_byte_s=1)
    assert len(watched.deadlines) == 1
    watched.deadlines.discard(cast("Relay", watched.relay))
    assert len(watched.deadlines) == 0
    assert watched.at(200.0) == []


def test_at_the_end_of_the_process_all_are_given_up() -> None:
    watched = Watched()
    watched.deadlines.fail_all(Failure.SHUTDOWN, "bye")
    assert watched.relay.ended == [Failure.SHUTDOWN]


@pytest.mark.parametrize("begun", [True, False])
def test_a_replica_whose_probes_time_out_and_that_moves_nothing_for_long_does_not_answer(begun: bool) -> None:  # noqa: FBT001
    """The machine is gone, or frozen: nothing refuses, nothing ends, and its engine can't be asked."""
    watched = Watched(begun=begun, first_byte_s=900, idle_s=900)
    assert watched.at(800.0) == []
    watched.view.state = State.UNRESPONSIVE
    watched.relay.last_progress = 800.0
    assert watched.at(850.0) == []
    assert watched.at(850.1) == [Failure.HUNG]


def test_a_saturated_replica_whose_other_answers_move_is_waited_for() -> None:
    watched = Watched(first_byte_s=900)
    watched.view.state = State.UNRESPONSIVE
    watched.replica.last_byte_at = 780.0
    assert watched.at(800.0) == []
    assert watched.at(830.1) == [Failure.HUNG]
