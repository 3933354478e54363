"""Headers on their way through, in both directions.

Hop-by-hop fields end here (RFC 9110, section 7.6.1), and so do those that belong to one side only: the
client's `Host` and its `Authorization`.
"""

import re
from collections.abc import Iterable

Header = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
# Written anew for the replica: the length may change with an alias, the id and the key may be ours, and an
# expectation was already answered here.
_NOT_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"x-request-id", b"authorization"}
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 500: b"Internal Server Error"}


def is_request_id(value: str) -> bool:
    """Whether a client's id is fit to be passed on and logged."""
    return _REQUEST_ID.fullmatch(value) is not None


def common_headers(received: Iterable[Header], request_id: str) -> bytes:
    """The client's headers that go on to any replica, and the request's id; every line ended."""
    dropped = _NOT_FORWARDED
    lines: list[bytes] = []
    for name, value in received:
        lower = name.lower()
        if lower in dropped:
            if lower == b"connection":
                dropped = dropped | _named(value)
            continue
        lines += (name, b": ", value, b"\r\n")
    if dropped is not _NOT_FORWARDED:
        # The connection header may have named a field that came before it.
        fields = [lines[i : i + 4] for i in range(0, len(lines), 4)]
        lines = [part for field in fields if field[0].lower() not in dropped for part in field]
    lines += (b"x-request-id: ", request_id.encode("ascii"), b"\r\n")
    return b"".join(lines)


def request_head(target: bytes, common: bytes, host: bytes, authorization: bytes, framing: bytes) -> bytes:
    """The whole head of a POST. `authorization` and `framing` are lines with their ends, or empty."""
    return b"".join(
        (b"POST ", target, b" HTTP/1.1\r\nhost: ", host, b"\r\n", authorization, framing, common, b"\r\n")
    )


def response_head(status: int, reason: bytes, received: Iterable[Header], added: bytes) -> bytes:
    """The head for the client: what the replica said, less what concerned only its own connection."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b""))]
    dropped: frozenset[bytes] = HOP_BY_HOP
    for name, value in received:
        lower = name.lower()
        if lower == b"connection":
            dropped = dropped | _named(value)
        if lower not in dropped:
            lines += (name, b": ", value, b"\r\n")
    lines += (added, b"\r\n")
    return b"".join(lines)


def _named(connection: bytes) -> frozenset[bytes]:
    """The fields that a `Connection` header names, as hop-by-hop as itself; never the framing itself."""
    named = {token.strip().lower() for token in connection.split(b",")}
    return frozenset(named - {b"content-length", b"content-type", b"close", b""})
