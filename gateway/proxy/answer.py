"""What one client is sent: head, framing, body, and how it ends.

The head leaves together with the first byte of the body. An answer that can't be completed never looks
complete: its framing is left open and the connection closed.
"""

from typing import Protocol

from gateway.proxy.headers import ResponseHeaders, status_line

_NO_BODY = frozenset((204, 304))


class Client(Protocol):
    """The client's connection, as far as an answer needs it."""

    last: bool
    """Whether it ends with this answer."""

    def write(self, data: bytes) -> None:
        """Send bytes, or drop them when the client is gone."""
        ...

    def hang_up(self, *, flush: bool) -> None:
        """Close the connection, after or without sending what is still buffered."""
        ...


class Answer:
    """The answer to one request, written over as many attempts as it takes to get one."""

    __slots__ = (
        "_chunked",
        "_client",
        "_close_delimited",
        "_head",
        "begun",
        "body_bytes",
        "finished",
        "status",
    )

    def __init__(self, client: Client, *, http_1_0: bool) -> None:
        self._client = client
        self._close_delimited = http_1_0  # nothing else ends a body of unknown length (RFC 9112, section 6.3)
        self._chunked = False
        self._head = b""
        self.status = 0
        self.begun = False
        self.finished = False
        self.body_bytes = 0

    @property
    def keeps_connection(self) -> bool:
        """Whether the framing lets another answer follow on the connection."""
        return self.finished and (self._chunked or not self._close_delimited)

    def prepare(self, status: int, headers: ResponseHeaders, added: bytes) -> None:
        """Set the head that will leave with the first byte. `added` are more header lines, each ended."""
        self.status = status
        self._chunked = False  # an attempt before this one may have set it
        framing = b"connection: close\r\n" if self._close_delimited or self._client.last else b""
        if not self._close_delimited and not headers.has_length and status not in _NO_BODY:
            self._chunked = True
            framing += b"transfer-encoding: chunked\r\n"
        self._head = b"%b%b%b%b\r\n" % (status_line(status), headers.forwarded, added, framing)

    def write(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        size = len(data)
        self.body_bytes += size
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (size, data)
        if not self.begun:
            self.begun = True
            data = self._head + data
        self._client.write(data)

    def finish(self, data: bytes = b"") -> None:
        """Pass the last piece on, and end the body."""
        self.body_bytes += len(data)
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self.finished = True
        if not self.begun:
            self.begun = True
            data = self._head + data
        self._client.write(data)

    def whole(self, message: bytes, status: int) -> None:
        """Send an answer made here; `message` is its head and body."""
        self.status = status
        self.finished = self.begun = True
        self._client.write(message)

    def break_off(self, event: bytes = b"") -> None:
        """End an answer that can't be finished: a last event where there is a stream, then no proper end."""
        if event and self._chunked:
            self.write(event)
        elif event:
            self._client.write(event)
        self._client.hang_up(flush=bool(event))
