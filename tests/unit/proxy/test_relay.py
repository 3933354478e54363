"""One attempt at an answer, driven by a connection made of plain values."""

import pytest

from gateway.proxy.outcome import Ended, Failure
from tests.unit.proxy.attempts import (
    ABORT,
    CHAT,
    DONE,
    ERROR,
    LATER,
    MESSAGES,
    RESPONSES,
    ROLE,
    STREAM,
    WORD,
    Attempt,
    cuts,
)

SIZES = [1, 2, 3, 7, 50, 1000]


def with_cr(stream: bytes) -> bytes:
    return stream.replace(b"\n", b"\r\n")


# -- passing on --


async def test_the_request_is_written_at_the_start() -> None:
    assert Attempt().connection.written == b"headbody"


@pytest.mark.parametrize("size", SIZES)
async def test_a_stream_cut_anywhere_arrives_whole(size: int) -> None:
    attempt = Attempt().take(*cuts(STREAM, size))
    assert attempt.body == STREAM
    assert attempt.ended == Ended()
    assert attempt.answer.finished
    assert attempt.connection.calls == []


@pytest.mark.parametrize("size", SIZES)
async def test_half_an_event_is_never_passed_on(size: int) -> None:
    attempt = Attempt()
    for piece in cuts(STREAM, size):
        attempt.take(piece, complete=False)
        assert attempt.body == b"" or attempt.body.endswith(b"\n\n")


async def test_whole_events_are_passed_on_at_once_and_half_ones_when_they_are_whole() -> None:
    attempt = Attempt().take(ROLE + WORD[:10], complete=False)
    assert attempt.body == ROLE
    attempt.take(WORD[10:] + WORD, complete=False)
    assert attempt.body == ROLE + WORD + WORD


async def test_nothing_is_sent_before_the_first_byte_and_the_head_goes_with_it() -> None:
    attempt = Attempt()
    attempt.take(ROLE[:5], complete=False)
    assert attempt.client.sent == b""
    attempt.take(ROLE[5:], complete=False)
    assert attempt.client.sent.startswith(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"x-request-id: 1\r\nx-served-by: r\r\ntransfer-encoding: chunked\r\n\r\n"
    )


async def test_a_plain_answer_is_passed_on_piece_by_piece() -> None:
    attempt = Attempt(headers=[(b"content-length", b"6")])
    attempt.take(b"abc", complete=False)
    assert attempt.client.sent.endswith(b"\r\n\r\nabc")
    attempt.connection.take(b"def", True)  # noqa: FBT003
    assert attempt.client.sent.endswith(b"\r\n\r\nabcdef")
    assert attempt.ended == Ended()


async def test_a_plain_answer_that_looks_like_a_failing_stream_is_none() -> None:
    for body in (ERROR, ABORT, b'{"finish_reason":"abort"}'):
        attempt = Attempt(headers=[(b"content-length", b"%d" % len(body))]).take(body)
        assert attempt.ended == Ended()
        assert attempt.client.sent.endswith(body)


async def test_gaps_between_arrivals_are_measured_from_the_first_token_on() -> None:
    attempt = Attempt().take(ROLE, WORD, WORD + DONE)
    assert len(attempt.gaps) == 1, "the role comes with the first token"
    assert attempt.relay.first_byte_at > 0


@pytest.mark.parametrize(
    ("path", "end"),
    [
        (CHAT, DONE),
        ("/v1/completions", DONE),
        (RESPONSES, b'event: response.completed\ndata: {"type":"response.completed"}\n\n'),
        (RESPONSES, b'event: response.incomplete\ndata: {"type":"response.incomplete"}\n\n'),
        (RESPONSES, b'event: response.failed\ndata: {"type":"response.failed"}\n\n'),
        (MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ],
)
async def test_each_api_s_streams_have_an_end_without_which_they_are_cut(path: str, end: bytes) -> None:
    begun = b'event: x\ndata: {"text":"event: message_stop\\n data: [DONE]\\n\\n"}\n\n'
    assert Attempt(path).take(begun, end).ended == Ended()
    cut = Attempt(path).take(begun)
    assert cut.ended.failure is Failure.TRUNCATED
    assert cut.body == begun
    assert not cut.answer.finished


async def test_a_stream_that_nothing_is_known_of_ends_as_it_ends() -> None:
    attempt = Attempt(LATER).take(b"data: 1\n\n", b"data: half")
    assert attempt.ended == Ended()
    assert attempt.body == b"data: 1\n\ndata: half"


async def test_an_event_too_long_to_be_held_passes_in_pieces() -> None:
    long = b"data: " + b"x" * 2_500_000 + b"\n\n"
    attempt = Attempt()
    for piece in cuts(long, 400_000):
        attempt.take(piece, complete=False)
    attempt.take(DONE)
    assert attempt.body == long + DONE
    assert attempt.ended == Ended()


# -- lines that end with CR LF --


@pytest.mark.parametrize("size", SIZES)
async def test_events_whose_lines_end_with_cr_lf_pass_as_they_come(size: int) -> None:
    stream = with_cr(STREAM)
    attempt, given = Attempt(), b""
    for piece in cuts(stream, size):
        attempt.take(piece, complete=False)
        given += piece
        assert attempt.body == given[: given.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in given else 0]
    attempt.take()
    assert attempt.ended == Ended()
    assert attempt.answer.finished


@pytest.mark.parametrize("size", SIZES)
async def test_a_stream_may_end_some_lines_with_lf_and_some_with_cr_lf(size: int) -> None:
    """As servers do whose library writes keep-alive comments into the events that they made themselves."""
    stream = ROLE + b": ping\r\n\r\n" + WORD + with_cr(WORD) + b": ping\r\n\r\n" + WORD + DONE
    attempt = Attempt().take(*cuts(stream, size))
    assert attempt.body == stream
    assert attempt.ended == Ended()


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_the_end_of_each_api_s_streams_is_seen_behind_cr_lf(path: str) -> None:
    end = {RESPONSES: b"response.completed", MESSAGES: b"message_stop"}[path]
    begun = b"event: x\r\ndata: {}\r\n\r\n"
    assert Attempt(path).take(begun, b"event: %b\r\ndata: {}\r\n\r\n" % end).ended == Ended()
    assert Attempt(path).take(begun).ended.failure is Failure.TRUNCATED


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("last", "failure"), [(ERROR, Failure.ERROR_EVENT), (ABORT, Failure.ABORTED)])
async def test_giving_up_is_seen_behind_cr_lf(last: bytes, failure: Failure, size: int) -> None:
    attempt = Attempt().take(*cuts(with_cr(ROLE + WORD + last + DONE), size))
    assert attempt.ended.failure is failure
    assert attempt.body == with_cr(ROLE + WORD)
    assert attempt.relay.error_event == (with_cr(ERROR) if last is ERROR else b"")


async def test_nothing_passes_behind_an_end_marker_with_cr_lf() -> None:
    attempt = Attempt()
    attempt.relay.received(with_cr(ROLE + WORD + DONE) + b"data: more\r\n\r\n", complete=True)
    assert attempt.body == with_cr(ROLE + WORD + DONE)
    assert attempt.ended == Ended()


# -- what vLLM says when it can't go on --


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("last", "failure"), [(ERROR, Failure.ERROR_EVENT), (ABORT, Failure.ABORTED)])
async def test_what_vllm_says_when_it_gives_up_is_no_end_whatever_follows(
    last: bytes, failure: Failure, size: int
) -> None:
    attempt = Attempt().take(*cuts(ROLE + WORD + last + DONE, size))
    assert attempt.ended.failure is failure
    assert attempt.body == ROLE + WORD
    assert not attempt.answer.finished
    assert attempt.connection.calls == ["abandon"]
    assert attempt.relay.error_event == (ERROR if last is ERROR else b"")


@pytest.mark.parametrize("last", [ERROR, ABORT])
async def test_giving_up_before_the_first_token_leaves_the_answer_unbegun(last: bytes) -> None:
    attempt = Attempt().take(last + DONE)
    assert attempt.ended.failure in {Failure.ERROR_EVENT, Failure.ABORTED}
    assert not attempt.answer.begun


@pytest.mark.parametrize(
    "text",
    [rb'"finish_reason\":\"abort\"', rb"data: {\"error\"", rb"\"finish_reason\":\"abort\"", rb"data: [DONE]"],
)
async def test_a_text_that_speaks_of_failure_is_none(text: bytes) -> None:
    event = b'data: {"choices":[{"text":"' + text.replace(b'"finish', rb"\"finish") + b'"}]}\n\n'
    attempt = Attempt().take(event, DONE)
    assert attempt.ended == Ended()
    assert attempt.body == event + DONE
