"""Headers on their way through, in both directions.

Hop-by-hop fields end here (RFC 9110, section 7.6.1), and so do those that belong to one side only: the
client's `Host` and its keys.
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus

Header = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
# Written anew for the replica: the length may change with an alias, the id and the key may be ours, and an
# expectation was already answered here.
_NOT_FORWARDED = HOP_BY_HOP | {
    *(b"host", b"content-length", b"expect", b"x-request-id", b"authorization", b"x-api-key"),
}
# Phrases mean nothing (RFC 9112, section 4): the usual ones do for everybody.
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}
# Written anew for the client.
_NOT_RETURNED = HOP_BY_HOP | {b"x-request-id", b"x-served-by"}


class RequestHeaders:
    """A client's headers, looked through once.

    `forwarded` are the lines that go on to any replica, each ended. `get` gives the last value of a field by
    its lower-case name, or None.
    """

    __slots__ = ("forwarded", "get")

    def __init__(self, received: Iterable[Header]) -> None:
        seen: dict[bytes, bytes] = {}
        lines: list[bytes] = []
        connection: list[bytes] = []
        for name, value in received:
            lower = name.lower()
            seen[lower] = value
            if lower not in _NOT_FORWARDED:
                lines += (name, b": ", value, b"\r\n")
            elif lower == b"connection":
                connection.append(value)
        if connection:
            lines = _without(lines, _named(connection))
        self.get: Callable[[bytes], bytes | None] = seen.get  # the dict's own, which costs no Python frame
        self.forwarded = b"".join(lines)

    def text(self, name: bytes) -> str | None:
        """The last value as text; bytes that are no UTF-8 become surrogates, as in aiohttp."""
        value = self.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")


class ResponseHeaders:
    """A replica's headers, looked through once.

    `forwarded` are the lines that go on to the client. `has_length` says that the body's length is among
    them, `is_event_stream` that the body is one.
    """

    __slots__ = ("forwarded", "has_length", "is_event_stream")

    def __init__(self, received: Iterable[Header]) -> None:
        self.has_length = self.is_event_stream = False
        lines: list[bytes] = []
        connection: list[bytes] = []
        for name, value in received:
            lower = name.lower()
            if lower == b"content-length":
                self.has_length = True
            elif lower == b"content-type":
                self.is_event_stream = value.startswith(b"text/event-stream")
            elif lower in _NOT_RETURNED:
                if lower == b"connection":
                    connection.append(value)
                continue
            lines += (name, b": ", value, b"\r\n")
        if connection:
            lines = _without(lines, _named(connection))
        self.forwarded = b"".join(lines)


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def request_head(target: bytes, forwarded: bytes, host: bytes, own: bytes) -> bytes:
    """The whole head of a POST. `own` are the gateway's lines, each ended."""
    return b"POST %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (target, host, own, forwarded)


def _without(lines: list[bytes], dropped: frozenset[bytes]) -> list[bytes]:
    """The lines, in fours as written above, less the fields that `dropped` names."""
    fields = (lines[i : i + 4] for i in range(0, len(lines), 4))
    return [part for field in fields if field[0].lower() not in dropped for part in field]


def _named(connection: list[bytes]) -> frozenset[bytes]:
    """The fields that `Connection` headers name, as hop-by-hop as themselves; never the framing itself."""
    named = {token.strip().lower() for token in b",".join(connection).split(b",")}
    return frozenset(named - {b"content-length", b"content-type"})
