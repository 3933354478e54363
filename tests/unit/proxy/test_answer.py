"""What one client is sent, byte by byte."""

from dataclasses import dataclass, field

import pytest

from gateway.proxy.answer import Answer
from gateway.proxy.headers import Header, ResponseHeaders, status_line

SSE: list[Header] = [(b"content-type", b"text/event-stream"), (b"transfer-encoding", b"chunked")]
PLAIN: list[Header] = [(b"content-length", b"4")]
ID = b"x-request-id: 1\r\n"


@dataclass
class FakeClient:
    sent: list[bytes] = field(default_factory=list)
    last: bool = False
    closed: str = ""

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def hang_up(self, *, flush: bool) -> None:
        self.closed = "flushed" if flush else "aborted"

    @property
    def bytes(self) -> bytes:
        return b"".join(self.sent)


def prepared(
    headers: list[Header], *, http_1_0: bool = False, status: int = 200
) -> tuple[FakeClient, Answer]:
    client = FakeClient()
    answer = Answer(client, http_1_0=http_1_0)
    answer.prepare(status, ResponseHeaders(headers), ID)
    return client, answer


def test_nothing_leaves_before_the_first_byte_of_the_body() -> None:
    client, answer = prepared(SSE)
    assert (client.sent, answer.begun) == ([], False)
    answer.write(b"data: x\n\n")
    assert len(client.sent) == 1
    assert answer.begun


def test_a_body_without_a_length_is_chunked() -> None:
    client, answer = prepared(SSE)
    answer.write(b"ab")
    answer.write(b"0123456789abcdef")
    answer.finish(b"c")
    assert client.bytes == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: 1\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n10\r\n0123456789abcdef\r\n1\r\nc\r\n0\r\n\r\n"
    )
    assert (answer.body_bytes, answer.keeps_connection, client.closed) == (19, True, "")


def test_an_end_without_a_last_piece_adds_no_empty_chunk_before_it() -> None:
    client, answer = prepared(SSE)
    answer.write(b"ab")
    answer.finish()
    assert client.bytes.endswith(b"2\r\nab\r\n0\r\n\r\n")


def test_a_body_with_a_length_goes_through_as_it_is() -> None:
    client, answer = prepared(PLAIN)
    answer.write(b"ab")
    answer.finish(b"cd")
    assert client.bytes == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-request-id: 1\r\n\r\nabcd"
    assert answer.keeps_connection


def test_an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection() -> None:
    client, answer = prepared(SSE, http_1_0=True)
    answer.write(b"ab")
    answer.finish(b"c")
    assert client.bytes.endswith(b"x-request-id: 1\r\nconnection: close\r\n\r\nabc")
    assert not answer.keeps_connection


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_is_not_chunked(status: int) -> None:
    client, answer = prepared([], status=status)
    answer.finish()
    assert client.bytes == status_line(status) + b"x-request-id: 1\r\n\r\n"
    assert answer.keeps_connection


def test_an_unfinished_answer_does_not_keep_the_connection() -> None:
    _, answer = prepared(PLAIN)
    answer.write(b"ab")
    assert not answer.keeps_connection


@pytest.mark.parametrize("http_1_0", [False, True])
def test_a_stream_that_breaks_ends_with_an_event_and_without_its_framing(http_1_0: bool) -> None:  # noqa: FBT001
    client, answer = prepared(SSE, http_1_0=http_1_0)
    answer.write(b"data: a\n\n")
    answer.break_off(b"data: {}\n\n")
    assert client.bytes.endswith(b"a\n\ndata: {}\n\n" if http_1_0 else b"a\r\ndata: {}\n\n\r\n")
    assert b"0\r\n\r\n" not in client.bytes
    assert (client.closed, answer.finished, answer.keeps_connection) == ("flushed", False, False)


def test_a_plain_answer_that_breaks_is_cut() -> None:
    client, answer = prepared(PLAIN)
    answer.write(b"ab")
    answer.break_off()
    assert client.bytes.endswith(b"\r\n\r\nab")
    assert client.closed == "aborted"


def test_an_answer_made_here_is_sent_as_it_is() -> None:
    client = FakeClient()
    answer = Answer(client, http_1_0=False)
    answer.whole(b"HTTP/1.1 404 Not Found\r\n\r\n", 404)
    assert client.bytes == b"HTTP/1.1 404 Not Found\r\n\r\n"
    assert (answer.status, answer.begun, answer.keeps_connection) == (404, True, True)


def test_another_attempt_replaces_the_head_that_has_not_left() -> None:
    client, answer = prepared(SSE)
    answer.prepare(200, ResponseHeaders(PLAIN), b"x-served-by: b\r\n")
    answer.finish(b"abcd")
    assert client.bytes == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-served-by: b\r\n\r\nabcd"
