"""What tapes may keep, and what becomes of a stream that outgrows it."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fleet.snapshot import ResumeMode
from gateway.proxy.resume.memory import ResumeMemory
from gateway.proxy.resume.recording import Recording
from gateway.proxy.resume.rejoin import NotAContinuation
from gateway.proxy.resume.request import closing_events, continuation, with_token_ids
from gateway.proxy.resume.tape import Tape
from gateway.proxy.resume.text import TextTape
from gateway.telemetry.families import RESUME_BUFFER
from gateway.telemetry.layout import Layout
from gateway.telemetry.meters import WorkerMeter
from gateway.telemetry.scoreboard import Scoreboard
from gateway.telemetry.sums import read
from tests.unit.proxy.simulated_events import CHAT, COMPLETIONS, events_of_stream, request_body, split
from tests.unit.proxy.tapes import exact, played

USAGE = {"include_usage": True}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("limit", [0, 1, 9, 30])
@pytest.mark.parametrize("make", [exact, lambda limit: TextTape(limit, lambda _: True)])
def test_a_stream_that_outgrows_its_bound_is_shown_as_before_and_not_continued(
    make: type[Recording], limit: int, path: str
) -> None:
    body = request_body(path, "hi", max_tokens=20, stream_options=USAGE)
    tape = make(limit)  # type: ignore[call-arg]
    assert played(tape, body, path) == events_of_stream(path, body)
    assert tape.overflown
    assert continuation(path, body, tape) == "buffer_full"


def test_counts_go_on_behind_the_bound_so_that_an_end_can_still_be_sent() -> None:
    body = request_body(CHAT, "hi", max_tokens=20, stream_options=USAGE)
    tape = exact(5)
    events = played(tape, body)
    closing = closing_events(body, tape)
    assert isinstance(closing, bytes)
    tape_without_end = exact(5)
    played(tape_without_end, body, upto=len(events) - 2)
    ending = closing_events(body, tape_without_end)
    assert isinstance(ending, bytes)
    usage = orjson.loads(split(ending)[0][6:])["usage"]
    assert usage == orjson.loads(events[-2][6:])["usage"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([ResumeMode.EXACT, ResumeMode.TEXT]), st.integers(1, 30)), max_size=8)
)
def test_all_tapes_together_stay_below_the_worker_s_bound_and_give_all_of_it_back(
    streams: list[tuple[ResumeMode, int]],
) -> None:
    board = Scoreboard.create(Layout(workers=1, pools=1, replicas=1))
    memory = ResumeMemory(60, 150, WorkerMeter(board, 0))
    tapes = []
    for mode, tokens in streams:
        body = request_body(CHAT, "hi", max_tokens=tokens)
        asked, tape = memory.tape_for(mode, body, None)
        assert tape is not None
        tapes.append(tape)
        for event in events_of_stream(CHAT, asked):
            tape.edit(event)
            assert kept(board) <= 150
    for tape in tapes:
        tape.close()
    assert kept(board) == 0
    board.close()


def kept(board: Scoreboard) -> int:
    return sum(cells[0] for cells in read(board, 1, 1).workers(RESUME_BUFFER))


def test_without_resuming_nothing_is_kept_or_asked_for() -> None:
    board = Scoreboard.create(Layout(workers=1, pools=1, replicas=1))
    memory = ResumeMemory(60, 150, WorkerMeter(board, 0))
    body = request_body(CHAT, "hi")
    assert memory.tape_for(ResumeMode.OFF, body, None) == (body, None)
    assert memory.tape_for(ResumeMode.TEXT, body, None)[0] == body
    assert memory.tape_for(ResumeMode.EXACT, body, None)[0] == with_token_ids(body)
    board.close()


@pytest.mark.parametrize("wish", [True, 1, "true", [], {}])
def test_a_request_that_says_itself_whether_it_wants_ids_is_not_changed(wish: object) -> None:
    board = Scoreboard.create(Layout(workers=1, pools=1, replicas=1))
    memory = ResumeMemory(600, 1500, WorkerMeter(board, 0))
    body = request_body(CHAT, "hi", return_token_ids=wish)
    asked, tape = memory.tape_for(ResumeMode.EXACT, body, wish)
    assert asked == body
    assert (tape is None) is not (wish is True)
    board.close()


# -- lines that end with CR LF: no vLLM wrote them --


def with_cr(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("make", [exact, lambda: TextTape(1 << 20, lambda _: True)])
def test_a_stream_with_cr_lf_is_shown_as_it_is_and_not_continued(
    make: type[Recording], path: str, *, at_once: bool
) -> None:
    body = request_body(path, "hi", max_tokens=8, stream_options=USAGE)
    tape = make()  # type: ignore[call-arg]
    asked = with_token_ids(body) if isinstance(tape, Tape) else body
    events = list(map(with_cr, events_of_stream(path, asked)))
    for cut in range(len(events)):
        reads = [b"".join(events[:cut])] if at_once else events[:cut]
        tape = make()  # type: ignore[call-arg]
        shown = b"".join(map(tape.edit, reads))
        assert shown == with_cr(b"".join(events_of_stream(path, body)[:cut]))
        assert continuation(path, body, tape) in {"no_token_ids", "unsupported_request"}
        if tape.finished:
            assert closing_events(body, tape) == b"data: [DONE]\n\n"


def test_a_replica_that_writes_cr_lf_does_not_go_on_with_the_answer_of_one_that_does_not() -> None:
    body = request_body(CHAT, "hi", max_tokens=8)
    tape = TextTape(1 << 20, lambda _: True)
    played(tape, body, upto=4)
    more = continuation(CHAT, body, tape)
    assert isinstance(more, bytes)
    with pytest.raises(NotAContinuation):
        tape.edit(with_cr(events_of_stream(CHAT, more)[0]))
