"""One connection to a replica, fed with bytes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.upstream.connection import HEAD_LIMIT_BYTES
from tests.unit.proxy.lines import FakeExchange, Line

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-a: 1\r\n\r\nbody"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbo\r\n\r\n2\r\ndy\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [OK, CHUNKED.replace(b"4\r\nbo\r\n", b"2\r\nbo")])
def test_an_answer_in_one_read_is_told_in_one_call(answer: bytes) -> None:
    line = Line()
    exchange = line.answered(answer)
    assert (exchange.body, exchange.calls, exchange.complete) == (b"body", 1, 1)
    assert line.connection.status == 200
    assert line.kept


@given(st.lists(st.integers(1, 200), max_size=12), st.sampled_from([OK, CHUNKED]))
def test_an_answer_cut_anywhere_is_the_same_answer(cuts: list[int], answer: bytes) -> None:
    line = Line()
    edges = [0, *sorted(cut % len(answer) for cut in cuts), len(answer)]
    exchange = line.answered(*(answer[a:b] for a, b in itertools.pairwise(edges) if a < b))
    assert exchange.body in {b"body", b"bo\r\ndy"}
    assert exchange.complete == 1
    assert line.connection.headers[0][0] in {b"content-length", b"transfer-encoding"}
    assert line.kept


def test_a_head_alone_is_told_to_nobody() -> None:
    line = Line()
    exchange = line.answered(OK.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert exchange.calls == 0
    assert line.connection.has_head


def test_an_answer_without_a_body_is_complete_with_its_head() -> None:
    line = Line()
    exchange = line.answered(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (exchange.body, exchange.calls, exchange.complete) == (b"", 1, 1)
    assert line.kept


def test_the_next_request_starts_from_nothing() -> None:
    line = Line()
    line.answered(OK)
    exchange = line.answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert line.connection.status == 404
    assert line.connection.headers == [(b"content-length", b"0")]
    assert exchange.complete == 1
    assert line.connection.served == 2


def test_interim_answers_are_forgotten() -> None:
    line = Line()
    exchange = line.answered(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n", OK)
    assert (exchange.body, exchange.complete) == (b"body", 1)
    assert (b"link", b"x") not in line.connection.headers
    assert line.kept


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\n\r\n", b"junk", b"\x00", b"H", b"HTTP/1.1 2"])
def test_bytes_behind_an_answer_end_the_connection(surplus: bytes) -> None:
    line = Line()
    exchange = line.answered(OK + surplus)
    assert (exchange.body, exchange.complete) == (b"body", 1)
    assert not line.pool.idle_again
    assert line.transport.closed


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    line = Line()
    line.connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert line.transport.closed == "aborted"


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 999 Weird\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 Weird\r\n\r\n",
        b"HTTP/1.1 20 Short\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_no_http_ends_the_exchange_and_the_connection(garbage: bytes) -> None:
    line = Line()
    exchange = line.answered(garbage)
    assert "did not speak HTTP" in exchange.reason
    assert line.transport.closed == "aborted"
    assert not line.pool.idle_again


def test_headers_that_do_not_end_are_given_up() -> None:
    line = Line()
    exchange = line.ask()
    line.connection.data_received(b"HTTP/1.1 200 OK\r\n")
    for _ in range(HEAD_LIMIT_BYTES // 1000 + 1):
        line.connection.data_received(b"x: " + b"y" * 1000 + b"\r\n")
    assert "do not end" in exchange.reason
    assert line.transport.closed == "aborted"


def test_a_long_body_is_no_long_head() -> None:
    line = Line()
    exchange = line.answered(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", *[b"x" * 100_000] * 10)
    assert (len(exchange.body), exchange.complete) == (1_000_000, 1)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    line = Line()
    exchange = line.answered(b"HTTP/1.1 200 OK\r\n\r\n", b"bo", b"dy")
    assert not exchange.complete
    line.end()
    assert (exchange.body, exchange.complete, exchange.reason) == (b"body", 1, "")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", OK[:-1], CHUNKED[:-1], OK.partition(b"\r\n\r\n")[0]]
)
@pytest.mark.parametrize(("error", "reason"), [(None, "closed"), (ConnectionResetError(), "reset")])
def test_a_cut_answer_is_lost_and_the_reason_says_how(
    answer: bytes, error: Exception | None, reason: str
) -> None:
    line = Line()
    exchange = line.answered(answer) if answer else line.ask()
    line.end(error)
    assert reason in exchange.reason
    assert line.pool.gone == [line.connection]
    assert line.connection.transport is None


@pytest.mark.parametrize(
    "answer", [OK.replace(b"x-a: 1", b"connection: close"), OK.replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_a_connection_that_the_replica_does_not_keep_is_not_kept(answer: bytes) -> None:
    line = Line()
    assert line.answered(answer).complete
    assert not line.pool.idle_again
    assert line.transport.closed == "closed"


def test_a_connection_with_half_a_request_on_it_is_not_kept() -> None:
    line = Line()
    assert line.answered(OK, finished=False).complete
    assert not line.pool.idle_again
    whole = Line()
    exchange = whole.ask(finished=False)
    whole.connection.more(b"rest")
    whole.connection.more(b"", finished=True)
    whole.connection.data_received(OK)
    assert exchange.complete
    assert whole.kept
    assert b"".join(whole.transport.written).endswith(b"{}rest")


def test_a_connection_that_is_kept_reads_whatever_the_client_of_its_last_answer_did() -> None:
    line = Line()

    class SlowClient(FakeExchange):
        def received(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
            super().received(data, complete)
            line.connection.pause_reading()

    line.connection.begin(SlowClient(), b"", b"")
    line.connection.data_received(OK)
    assert line.kept
    # Else neither the replica's closing nor the next answer would ever be seen.
    assert line.transport.reading


def test_reading_pauses_and_goes_on() -> None:
    line = Line()
    line.ask()
    line.connection.pause_reading()
    assert not line.transport.reading
    line.connection.resume_reading()
    assert line.transport.reading


def test_the_exchange_hears_how_fast_the_replica_reads() -> None:
    line = Line()
    line.connection.pause_writing()
    exchange = line.ask()
    line.connection.pause_writing()
    line.connection.resume_writing()
    assert exchange.sending == ["pause", "resume"]
    line.connection.data_received(OK)
    line.connection.resume_writing()
    assert exchange.sending == ["pause", "resume"]


def test_who_abandons_a_connection_hears_nothing_more_from_it() -> None:
    line = Line()
    exchange = line.ask()
    line.connection.abandon()
    assert line.transport.closed == "aborted"
    line.end()
    assert (exchange.reason, exchange.complete) == ("", 0)
    assert line.pool.gone == [line.connection]


def test_nothing_happens_on_a_connection_that_is_gone() -> None:
    line = Line()
    line.end()
    line.connection.pause_reading()
    line.connection.resume_reading()
    line.connection.more(b"x")
    line.connection.abandon()
    assert line.transport.written == []
    assert not line.transport.closed


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_a_request_is_written_head_first_whatever_its_size(size: int) -> None:
    line = Line()
    line.connection.begin(FakeExchange(), b"head", b"x" * size)
    assert b"".join(line.transport.written) == b"head" + b"x" * size
    # A short body goes along with the head, a long one is not copied.
    assert len(line.transport.written) == (2 if size == 100_000 else 1)
