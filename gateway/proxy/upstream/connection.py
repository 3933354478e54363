"""One HTTP/1.1 connection to a replica."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from gateway.proxy.headers import Header
from gateway.proxy.outbox import Outbox

HEAD_LIMIT_BYTES = 256 << 10
"""Longest response head; vLLM's are under 1 KiB, and one without an end would fill the memory."""

JOIN_BELOW_BYTES = 16 << 10
"""Copying a short body behind its head is cheaper than handing the kernel two pieces."""

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_FINAL = 200  # lower statuses are interim (RFC 9110, section 15.2): another response follows
_LAST = 599  # statuses above are none (RFC 9110, section 15)


Take = Callable[[bytes, bool], None]


class Exchange(Protocol):
    """Who receives the answer to the request that a connection is carrying.

    `received` is called once for each read from the socket that brought something: the head is on the
    connection (`status`, `headers`), `data` are the body bytes of this read. `complete` is the end of a
    well-framed answer. `lost` is the end of anything else. For later reads the exchange may put another
    method in its place (`Connection.take`).
    """

    def received(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        """Take what one read brought."""
        ...

    def lost(self, reason: str) -> None:
        """The answer can't go on; `reason` is a few words for people."""
        ...

    def pause_sending(self) -> None:
        """The replica reads slower than we write."""
        ...

    def resume_sending(self) -> None:
        """It has caught up."""
        ...


class Pool(Protocol):
    """Who keeps connections between requests."""

    outbox: Outbox

    def idle(self, connection: "Connection") -> None:
        """The connection finished its exchange and can carry another."""
        ...

    def closed(self, connection: "Connection") -> None:
        """The connection is gone."""
        ...


class Connection(asyncio.Protocol):
    """Parses the replica's bytes and hands them to the exchange it is carrying, one at a time."""

    __slots__ = (
        "_body",
        "_complete",
        "_exchange",
        "_head_bytes",
        "_keep_alive",
        "_parser",
        "_paused",
        "_pool",
        "_request_sent",
        "_write",
        "answered",
        "has_head",
        "headers",
        "idle_since",
        "on_body",
        "served",
        "status",
        "take",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._exchange: Exchange | None = None
        self._body: list[bytes] = []
        # The parser's callback for a piece of the body: a list's own `append` costs no Python frame.
        self.on_body = self._body.append
        self._parser = httptools.HttpResponseParser(self)
        self._complete = False
        self._keep_alive = False
        self._request_sent = True
        self._paused = False
        self.transport: asyncio.Transport | None = None
        self.take: Take = _nobody
        self.answered = False
        self.idle_since = 0.0
        self.served = 0
        self._forget()

    def _forget(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self.has_head = False
        self._head_bytes = 0

    # -- used by the relay --

    def begin(self, exchange: Exchange, head: bytes, body: bytes, *, finished: bool = True) -> None:
        """Start an exchange by writing a request, or its beginning when not `finished`."""
        assert self.transport is not None
        self.status = 0
        self.headers = []
        self.has_head = False
        self._head_bytes = 0
        self._exchange = exchange
        self.take = exchange.received
        self.answered = False
        self._request_sent = finished
        self.served += 1
        if len(body) < JOIN_BELOW_BYTES:
            self._write(head + body)
        else:
            self.transport.writelines((head, body))

    def more(self, piece: bytes, *, finished: bool = False) -> None:
        """Write more of the request's body."""
        self._request_sent = finished
        if self.transport is not None and piece:
            self._write(piece)

    def pause_reading(self) -> None:
        """Stop reading: the client is slower than the replica."""
        if self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Close without a word to the exchange: how vLLM learns that nobody waits for the answer."""
        self._exchange = None
        self.take = _nobody
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._write = self._pool.outbox.writer(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pool.closed(self)
        self._lose("the connection was reset" if exc else "the connection was closed")

    def eof_received(self) -> None:
        """An answer without a length ends with the connection (RFC 9112, section 6.3); any other is cut."""
        if self._exchange is not None and self.has_head and not self._complete and self._until_close():
            self._exchange = None
            take, self.take = self.take, _nobody
            take(b"", True)  # noqa: FBT003

    def _until_close(self) -> bool:
        return not any(name.lower() in _FRAMING for name, _ in self.headers)

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.pause_sending()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.resume_sending()

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            # Bytes that nobody asked for: whatever follows on this connection can't be trusted.
            self.abandon()
            return
        garbled = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            garbled = f"the replica did not speak HTTP ({error})"
        body = self._body
        if self._complete:
            self._finish(reusable=garbled is None)
        elif garbled is not None or (not self.has_head and self._head_too_long(len(data))):
            self._lose(garbled or "the replica's headers do not end")
            self.abandon()
        elif body:
            received = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            self.take(received, False)  # noqa: FBT003

    def _head_too_long(self, more: int) -> bool:
        self._head_bytes += more
        return self._head_bytes > HEAD_LIMIT_BYTES

    def _finish(self, *, reusable: bool) -> None:
        body = self._body
        received = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._exchange = None
        take, self.take = self.take, _nobody
        self._complete = False
        # Told first, so that the pool never offers a connection whose lease still counts.
        take(received, True)  # noqa: FBT003
        transport = self.transport
        if transport is None:
            return
        if reusable and self._request_sent and self._keep_alive and not transport.is_closing():
            if self._paused:
                # The answer's last piece may have been too much for its client. The next one's is another.
                self.resume_reading()
            self._pool.idle(self)
        else:
            transport.close()

    def _lose(self, reason: str) -> None:
        exchange, self._exchange = self._exchange, None
        self.take = _nobody
        if exchange is not None:
            exchange.lost(reason)

    # -- httptools callbacks --

    def on_message_begin(self) -> None:
        """The first byte of a response."""
        if self._complete:
            raise ValueError("a second response to one request")
        self.answered = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.status = self._parser.get_status_code()
        if self.status > _LAST:
            raise ValueError("no such status")
        self.has_head = self.status >= _FINAL
        if not self.has_head:
            self._forget()

    def on_message_complete(self) -> None:
        """The answer is whole, by its framing."""
        self._complete = self.has_head
        # llhttp forgets it as soon as it is ready for the next message.
        self._keep_alive = self._parser.should_keep_alive()


def _nobody(data: bytes, complete: bool) -> None:  # noqa: FBT001
    """Who takes what comes while nothing was asked."""
