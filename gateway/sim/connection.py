"""One client connection: parses requests, keeps their order, writes answers, notices who left.

Owns the HTTP/1.1 state of a connection. Must never know what a request means: that is the handler's.
"""

import asyncio
import socket
import struct
from collections import deque
from typing import Protocol, cast
from urllib.parse import parse_qsl

import httptools

from gateway.sim import wire
from gateway.sim.pieces import PieceWriter

_MAX_PIPELINED = 64
"""Requests parsed ahead before reading stops; a client that pipelines more waits."""


class Request:
    """A complete request."""

    __slots__ = ("body", "headers", "keep_alive", "method", "path", "query")

    def __init__(
        self, method: str, url: bytes, headers: list[tuple[str, str]], body: bytes, *, keep_alive: bool
    ) -> None:
        parsed = httptools.parse_url(url)
        self.method = method
        self.path = parsed.path.decode("latin-1")
        self.query = dict(parse_qsl(parsed.query.decode("latin-1"))) if parsed.query else {}
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Exchange(Protocol):
    """What is under way on a connection; told when the client can't read, and when it is gone."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def disconnected(self) -> None: ...


class Handler(Protocol):
    """What the connection needs of its server."""

    keep_alive_s: float

    def opened(self, connection: "Connection") -> None: ...
    def closed(self, connection: "Connection") -> None: ...
    def handle(self, request: Request, connection: "Connection") -> None: ...
    def pieces(self) -> tuple[int, float]: ...


class Connection(asyncio.Protocol):
    """Parses with httptools, answers in order, closes when idle for the keep-alive time."""

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._out: asyncio.Transport | PieceWriter
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._queue: deque[Request] = deque()
        self._serving = False  # between a request's start and its response's end
        self._pumping = False
        self.request: Request | None = None
        self.exchange: Exchange | None = None
        self.lost = False
        self.is_choked = False  # the client does not read as fast as we write

    # -- transport --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class.
        self._transport = self._out = cast("asyncio.Transport", transport)
        self._handler.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the message was delivered; uvicorn ignores upgrades it does not know
        except httptools.HttpParserError:
            self._transport.write(wire.invalid_request())
            self._transport.close()

    def eof_received(self) -> None:
        """A half-close counts as leaving (uvicorn): returning None closes the transport."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._idle_timer:
            self._idle_timer.cancel()
        self._queue.clear()
        exchange, self.exchange = self.exchange, None
        if exchange:
            exchange.disconnected()
        self._handler.closed(self)

    def pause_writing(self) -> None:
        self.is_choked = True
        if self.exchange:
            self.exchange.pause()

    def resume_writing(self) -> None:
        self.is_choked = False
        if self.exchange:
            self.exchange.resume()

    # -- parser --

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if any(name == "expect" and value.lower() == "100-continue" for name, value in self._headers):
            self._out.write(wire.CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._queue.append(
            Request(
                self._parser.get_method().decode("latin-1"),
                self._url,
                self._headers,
                b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        self._body = []
        if len(self._queue) > _MAX_PIPELINED:
            self._transport.pause_reading()
        self._pump()

    # -- one request after another --

    @property
    def is_idle(self) -> bool:
        return not self._serving and not self._queue

    def _pump(self) -> None:
        """Serve queued requests until one answers later. Not re-entered by its own handlers."""
        if self._pumping:
            return
        self._pumping = True
        while self._queue and not self._serving and not self.lost:
            self.request = self._queue.popleft()
            self._serving = True
            self._choose_writer()
            self._handler.handle(self.request, self)
        self._pumping = False

    def _choose_writer(self) -> None:
        size, delay_s = self._handler.pieces()
        if isinstance(self._out, PieceWriter):
            if self._out.is_busy:
                return
            self._out = self._transport
        if size or delay_s:
            self._out = PieceWriter(self._transport, self._loop, size or 1, delay_s)

    def _finished(self) -> None:
        """End the current exchange: close, go on with the next request, or wait."""
        request, self.request = self.request, None
        self.exchange = None
        self._serving = False
        if request is None or not request.keep_alive:
            self._out.close()
            return
        if self._queue:
            if len(self._queue) <= _MAX_PIPELINED and not self._transport.is_reading():
                self._transport.resume_reading()
            self._pump()
            return
        self._idle_since = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._handler.keep_alive_s, self._close_if_idle)

    def _close_if_idle(self) -> None:
        # One timer serves many requests: it looks again later instead of being cancelled each time.
        self._idle_timer = None
        if not self.is_idle or self.lost:
            return
        left = self._idle_since + self._handler.keep_alive_s - self._loop.time()
        if left > 0:
            self._idle_timer = self._loop.call_later(left, self._close_if_idle)
        else:
            self._transport.close()

    # -- answers --

    def respond(self, response: wire.Response, *, extra: str = "", length_delta: int = 0) -> None:
        """Send a complete answer and end the exchange."""
        if self.lost or self.request is None:
            return
        close = not self.request.keep_alive
        head = wire.response_head(response, extra=extra, close=close, length_delta=length_delta)
        body = b"" if self.request.method == "HEAD" else response.body
        self._out.write(head + body)
        if length_delta:
            self.request.keep_alive = False
        self._finished()

    def begin_stream(self, *, extra: str = "") -> None:
        if self.request is not None:
            self._out.write(wire.stream_head(extra=extra, close=not self.request.keep_alive))

    def write(self, data: bytes) -> None:
        self._out.write(data)

    def end_stream(self, last: bytes = wire.LAST_CHUNK, *, after: bytes = b"") -> None:
        """Write the end of a stream, and `after` it what does not belong to it (a fault)."""
        self._out.write(last + after)
        self._finished()

    def close(self) -> None:
        """End the connection after what was written."""
        self._out.close()

    def abort(self) -> None:
        """End the connection at once, dropping what was not sent."""
        self._transport.abort()

    def reset(self) -> None:
        """End the connection with a TCP reset; unsent bytes are lost."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
