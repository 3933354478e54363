"""One attempt at an answer, driven by a connection made of plain values."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.proxy.answer import Answer
from gateway.proxy.headers import Header
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.relay import HELD_LIMIT_BYTES, Relay
from gateway.proxy.routes import Routes
from gateway.proxy.upstream.connection import Connection

SSE: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8")]
CHAT, RESPONSES, MESSAGES, LATER = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/later"
ROLE = b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = ' wörd \\n\\n data: {\\"error\\"'
WORD = f'data: {{"id":"1","choices":[{{"index":0,"delta":{{"content":"{TEXT}"}}}}]}}\n\n'.encode()
DONE = b"data: [DONE]\n\n"
STREAM = ROLE + WORD + WORD + DONE
ERROR = b'data: {"error": {"message": "EngineCore encountered an issue.", "code": 500}}\n\n'
ABORT = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}\n\n'
CLOSED = Ended(Failure.CLOSED, "the connection was closed")


@dataclass
class FakeClient:
    sent: bytes = b""
    closed: str = ""

    def write(self, data: bytes) -> None:
        self.sent += data

    def hang_up(self, *, flush: bool) -> None:
        self.closed = "flushed" if flush else "aborted"


@dataclass
class FakeConnection:
    """The replica's side: what it answered, and what was done with it."""

    status: int
    headers: list[Header]
    reason: bytes = b"OK"
    calls: list[str] = field(default_factory=list)
    written: bytes = b""

    def begin(self, _: Relay, head: bytes, body: bytes, *, finished: bool) -> None:
        assert finished
        self.written = head + body

    def abandon(self) -> None:
        self.calls.append("abandon")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Attempt:
    """A relay between a fake client and a fake replica."""

    def __init__(self, path: str = CHAT, status: int = 200, headers: list[Header] | None = None) -> None:
        self.client = FakeClient()
        self.answer = Answer(self.client, http_1_0=False)
        self.gaps: list[float] = []
        self.upload: Any = None
        self.job = SimpleNamespace(
            answer=self.answer,
            route=Routes().find("POST", path),
            pool=SimpleNamespace(meter=SimpleNamespace(itl=SimpleNamespace(observe=self.gaps.append))),
            tape=None,
            id_line=b"x-request-id: 1\r\n",
            upload=None,
            head=lambda _: b"head",
            body=b"body",
        )
        replica = cast("LiveReplica", SimpleNamespace(served_by=b"x-served-by: r\r\n"))
        self.relay = Relay(cast("Job", self.job), replica)
        self.connection = FakeConnection(status, SSE if headers is None else headers)
        self.relay.start(cast("Connection", self.connection), cast("Job", self.job), replica)

    def take(self, *pieces: bytes, complete: bool = True) -> "Attempt":
        for piece in pieces:
            if not self.relay.outcome.done():
                self.relay.received(piece, complete=False)
        if complete and not self.relay.outcome.done():
            self.relay.received(b"", complete=True)
        return self

    @property
    def ended(self) -> Ended:
        return self.relay.outcome.result()

    @property
    def body(self) -> bytes:
        """What the client got of the body, without its framing."""
        rest = self.client.sent.partition(b"\r\n\r\n")[2]
        found = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return found


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


SIZES = [1, 2, 3, 7, 50, 1000]


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
    attempt.relay.received(b"def", complete=True)
    assert attempt.client.sent.endswith(b"\r\n\r\nabcdef")
    assert attempt.ended == Ended()


async def test_a_plain_answer_that_looks_like_a_failing_stream_is_none() -> None:
    for body in (ERROR, ABORT, b'{"finish_reason":"abort"}'):
        attempt = Attempt(headers=[(b"content-length", b"%d" % len(body))]).take(body)
        assert attempt.ended == Ended()
        assert attempt.client.sent.endswith(body)


async def test_gaps_between_arrivals_are_measured_from_the_second_on() -> None:
    attempt = Attempt().take(ROLE, WORD, WORD + DONE)
    assert len(attempt.gaps) == 2
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


# -- what the status says --


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_an_error_that_another_replica_may_not_have_is_held(status: int) -> None:
    attempt = Attempt(status=status, headers=[(b"content-length", b"4"), (b"retry-after", b"3")])
    attempt.take(b"bu", b"sy")
    assert attempt.ended == Ended(Failure.STATUS, f"HTTP {status}")
    assert attempt.client.sent == b""
    assert attempt.relay.held_body == b"busy"
    assert attempt.connection.calls == []  # it ended well, and can be used again
    attempt.relay.pass_held_on()
    assert attempt.client.sent.startswith(
        b"HTTP/1.1 %d OK\r\ncontent-length: 4\r\nretry-after: 3\r\n" % status
    )
    assert attempt.client.sent.endswith(b"\r\n\r\nbusy")


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
async def test_any_other_error_is_the_answer(status: int) -> None:
    attempt = Attempt(status=status, headers=[(b"content-length", b"2")]).take(b"no")
    assert attempt.ended == Ended()
    assert attempt.client.sent.endswith(b"\r\n\r\nno")


async def test_an_error_too_long_to_be_held_is_passed_on() -> None:
    body = b"x" * (HELD_LIMIT_BYTES + 1)
    attempt = Attempt(status=503, headers=[(b"content-length", b"%d" % (2 * len(body)))])
    attempt.take(body[:-1], complete=False)
    assert attempt.client.sent == b""
    attempt.take(b"x", body)
    assert attempt.client.sent.endswith(b"\r\n\r\n" + body + body)
    assert attempt.ended == Ended()


async def test_an_error_whose_body_is_cut_is_a_lost_connection() -> None:
    attempt = Attempt(status=503).take(b"bus", complete=False)
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == CLOSED
    assert attempt.client.sent == b""


# -- ends --


@pytest.mark.parametrize("seen", [b"", ROLE, ROLE + WORD[:9]])
async def test_a_lost_connection_ends_the_attempt_and_half_an_event_is_dropped(seen: bytes) -> None:
    attempt = Attempt().take(seen, complete=False) if seen else Attempt()
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == CLOSED
    assert attempt.body == seen[: len(ROLE)]
    assert attempt.connection.calls == []


async def test_a_connection_lost_behind_the_end_marker_is_a_good_end() -> None:
    attempt = Attempt().take(STREAM, complete=False)
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == Ended()
    assert attempt.body == STREAM
    assert attempt.answer.finished


async def test_a_plain_answer_that_quotes_the_end_marker_and_is_cut_is_cut() -> None:
    attempt = Attempt(headers=[(b"content-length", b"100")]).take(DONE, complete=False)
    attempt.relay.lost("the connection was closed")
    assert attempt.ended == CLOSED


@pytest.mark.parametrize("seen", [b"", ROLE])
async def test_a_client_that_leaves_closes_the_replica_s_connection_once(seen: bytes) -> None:
    attempt = Attempt().take(seen, complete=False) if seen else Attempt()
    attempt.relay.client_gone()
    attempt.relay.client_gone()
    assert attempt.ended == Ended(client_gone=True)
    assert attempt.connection.calls == ["abandon"]


async def test_a_deadline_closes_the_replica_s_connection_and_only_the_first_end_counts() -> None:
    attempt = Attempt().take(ROLE, complete=False)
    attempt.relay.fail(Failure.IDLE_TIMEOUT, "late")
    attempt.relay.fail(Failure.SHUTDOWN, "later")
    attempt.relay.client_gone()
    assert attempt.ended == Ended(Failure.IDLE_TIMEOUT, "late")
    assert attempt.connection.calls == ["abandon"]


async def test_nobody_touches_the_connection_after_a_good_end() -> None:
    attempt = Attempt().take(STREAM)
    attempt.relay.fail(Failure.IDLE_TIMEOUT, "late")
    attempt.relay.client_gone()
    attempt.relay.pause_reading()
    attempt.relay.resume_reading()
    assert attempt.ended == Ended()
    assert attempt.connection.calls == []


async def test_the_client_s_pace_is_the_replica_s() -> None:
    attempt = Attempt().take(ROLE, complete=False)
    attempt.relay.pause_reading()
    before = attempt.relay.last_progress
    attempt.relay.resume_reading()
    assert attempt.connection.calls == ["pause", "resume"]
    assert attempt.relay.last_progress >= before


async def test_the_replica_s_pace_is_the_upload_s() -> None:
    attempt = Attempt()
    heard: list[str] = []
    attempt.relay.pause_sending()
    attempt.job.upload = SimpleNamespace(
        pause=lambda: heard.append("pause"), resume=lambda: heard.append("resume")
    )
    attempt.relay.pause_sending()
    attempt.relay.resume_sending()
    assert heard == ["pause", "resume"]
