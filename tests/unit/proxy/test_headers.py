"""Headers on their way through, in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.headers import (
    HOP_BY_HOP,
    Header,
    RequestHeaders,
    ResponseHeaders,
    request_head,
    status_line,
)


def lines(*fields: Header) -> tuple[bytes, bytes]:
    """What goes on of these fields, to a replica and to a client."""
    return RequestHeaders(fields).forwarded, ResponseHeaders(fields).forwarded


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_fields_end_here_in_both_directions(name: bytes) -> None:
    assert lines((name.title(), b"x"), (b"A", b"1")) == (b"A: 1\r\n", b"A: 1\r\n")


@pytest.mark.parametrize(
    "name", [b"Host", b"Content-Length", b"Expect", b"Authorization", b"X-Api-Key", b"X-Request-Id"]
)
def test_what_belongs_to_the_client_s_side_only_is_not_forwarded(name: bytes) -> None:
    assert RequestHeaders([(name, b"x"), (b"A", b"1")]).forwarded == b"A: 1\r\n"


@pytest.mark.parametrize("name", [b"X-Request-ID", b"x-served-by"])
def test_what_is_written_anew_for_the_client_is_not_sent_twice(name: bytes) -> None:
    assert ResponseHeaders([(name, b"theirs"), (b"A", b"1")]).forwarded == b"A: 1\r\n"


def test_everything_else_is_forwarded_as_it_was_spelled_and_in_order() -> None:
    fields = [(b"X-B", b"2"), (b"x-a", b"1"), (b"X-B", b"3"), (b"Content-Type", b"t"), (b"x-\xe9", b"\xff")]
    expected = b"X-B: 2\r\nx-a: 1\r\nX-B: 3\r\nContent-Type: t\r\nx-\xe9: \xff\r\n"
    assert lines(*fields) == (expected, expected)


@pytest.mark.parametrize("connection", [b"X-Mine", b"close, x-mine", b"x-mine ,, keep-alive"])
def test_a_field_that_connection_names_goes_no_further_wherever_it_stands(connection: bytes) -> None:
    fields = (b"X-Mine", b"1"), (b"Connection", connection), (b"A", b"1")
    assert lines(*fields) == lines(*fields[::-1]) == (b"A: 1\r\n", b"A: 1\r\n")


def test_several_connection_fields_count_as_one() -> None:
    fields = (
        (b"X-Mine", b"1"),
        (b"Connection", b"x-mine"),
        (b"X-Too", b"1"),
        (b"Connection", b"x-too"),
        (b"A", b"1"),
    )
    assert lines(*fields) == (b"A: 1\r\n", b"A: 1\r\n")


@pytest.mark.parametrize("named", [b"content-length", b"Content-Type", b"close", b""])
def test_connection_can_not_take_the_framing_away(named: bytes) -> None:
    fields = (b"content-length", b"5"), (b"content-type", b"t"), (b"connection", named)
    assert lines(*fields) == (b"content-type: t\r\n", b"content-length: 5\r\ncontent-type: t\r\n")


def test_the_values_that_the_gateway_reads_are_the_last_ones_whatever_their_bytes() -> None:
    headers = RequestHeaders([(b"X-A", b"1"), (b"x-a", b"\xff\xc3\xa9")])
    assert headers.get(b"x-a") == b"\xff\xc3\xa9"
    assert headers.text(b"x-a") == "\udcffé"
    assert headers.get(b"x-b") is None
    assert headers.text(b"x-b") is None


@pytest.mark.parametrize(
    ("fields", "has_length", "is_event_stream"),
    [
        ([(b"Content-Length", b"5"), (b"Content-Type", b"application/json")], True, False),
        (
            [(b"content-type", b"text/event-stream; charset=utf-8"), (b"transfer-encoding", b"chunked")],
            False,
            True,
        ),
        ([], False, False),
    ],
)
def test_a_replica_s_head_says_how_its_body_is_framed(
    fields: list[Header],
    has_length: bool,  # noqa: FBT001
    is_event_stream: bool,  # noqa: FBT001
) -> None:
    headers = ResponseHeaders(fields)
    assert (headers.has_length, headers.is_event_stream) == (has_length, is_event_stream)


def test_a_request_s_head_is_the_gateway_s_lines_and_the_client_s() -> None:
    head = request_head(b"/p/v1/x?a=b", b"A: 1\r\n", b"r:80", b"content-length: 2\r\n")
    assert head == b"POST /p/v1/x?a=b HTTP/1.1\r\nhost: r:80\r\ncontent-length: 2\r\nA: 1\r\n\r\n"


NAMES = st.sampled_from(
    [b"Connection", b"connection", b"TE", b"Keep-Alive", b"Host", b"X-A", b"x-b", b"Content-Type", b"Upgrade"]
)
VALUES = st.sampled_from([b"close", b"x-a", b"X-B, te", b"content-type", b"keep-alive, x-a", b"1", b""])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_no_order_of_fields_lets_a_hop_by_hop_field_through(fields: list[Header]) -> None:
    connections = [value for name, value in fields if name.lower() == b"connection"]
    named = {token.strip().lower() for value in connections for token in value.split(b",")}
    for forwarded in lines(*fields):
        left = [line.partition(b":")[0].lower() for line in forwarded.split(b"\r\n")[:-1]]
        assert not HOP_BY_HOP.intersection(left)
        assert not (named - {b"content-type"}).intersection(left)
        for name in (b"X-A", b"x-b", b"Content-Type"):
            if name.lower() not in named or name == b"Content-Type":
                assert left.count(name.lower()) == sum(name == other for other, _ in fields)


def test_a_status_gets_its_usual_phrase_and_an_unusual_one_none() -> None:
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(599) == b"HTTP/1.1 599 \r\n"
