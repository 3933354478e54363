"""One client's connection: aiohttp's parser and flow control, without its server.

`aiohttp.web.RequestHandler` makes a task, a request object and a writer for each request and goes round the
loop five times, all of which cost more than the relay does. Here one task serves a connection's requests, and
whoever answers writes to the transport.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web import RequestPayloadError

from gateway.proxy.errors import BadRequest, ClientGone, HeaderTimeout
from gateway.proxy.messages import error_message
from gateway.proxy.outbox import Outbox, Write
from gateway.proxy.settings import Settings

logger = logging.getLogger(__name__)

READ_BUFFER_BYTES = 256 << 10
"""Of a body that nobody has read yet; prompts are read whole, and fewer pauses make long ones cheaper."""
PIPELINED = 32
"""Requests of one connection that may wait for their turn before it is read no further."""
LINGER_S = 2.0
"""How long the rest of a refused body is read and forgotten, so that its client can read the answer."""

Handler = Callable[["ClientConnection", RawRequestMessage, StreamReader], Awaitable[bool]]
"""Answers a request; True when its connection can carry another one."""


class Listener(Protocol):
    """Who wants to know what happens to the client's connection while a request runs."""

    def client_gone(self) -> None:
        """The client closed or reset the connection."""
        ...

    def pause_reading(self) -> None:
        """The client is slow: more than the transport's high-water mark waits to be sent."""
        ...

    def resume_reading(self) -> None:
        """The client has caught up."""
        ...


class Server(Protocol):
    """Whom a connection was accepted for."""

    handle: Handler
    settings: Settings
    outbox: Outbox

    def opened(self, connection: "ClientConnection") -> None:
        """There is one connection more."""
        ...

    def lost(self, connection: "ClientConnection") -> None:
        """There is one less."""
        ...


class ClientConnection(BaseProtocol):
    """One client connection. Whoever answers its current request is its `listener`.

    `write` sends bytes, or drops them when the client is gone. `slow` says that the client takes less than
    it is sent, `last` that the connection ends with the request that runs. `due` is when it is given up, in
    seconds of the monotonic clock: when no request has come, or nobody reads what is left at its end.
    `serving` is the task that serves its requests, from the first one on.
    """

    __slots__ = (
        *("_deaf", "_handling", "_partial", "_requests", "_server", "_wanted"),
        *("address", "due", "last", "listener", "serving", "slow", "write"),
    )

    def __init__(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        settings = server.settings
        parser = HttpRequestParser(
            self,
            loop,
            READ_BUFFER_BYTES,
            max_line_size=settings.header_bytes,
            max_field_size=settings.header_bytes,
            max_headers=settings.header_count,
            payload_exception=RequestPayloadError,
            # vLLM reads no compressed bodies; unpacking them here would make the client's bytes ours.
            auto_decompress=False,
            max_msg_queue_size=PIPELINED,
        )
        super().__init__(loop, parser)
        self._server = server
        self._requests: deque[tuple[RawRequestMessage, StreamReader] | HttpProcessingError] = deque()
        self.serving: asyncio.Task[None] | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._handling: StreamReader | None = None
        self._partial = False
        self._deaf = False
        self.last = False
        self.listener: Listener | None = None
        self.address = ""
        self.due = math.inf
        self.slow = False
        self.write: Write = _drop

    def listen(self, listener: Listener | None) -> None:
        """Tell `listener` from now on. Raises `ClientGone` when there is nobody left to listen to."""
        self.listener = listener
        if listener is not None and self.transport is None:
            raise ClientGone("the client closed the connection")

    # -- for the answer (`gateway.proxy.answer.Client`) --

    def hang_up(self, *, flush: bool) -> None:
        """Close the connection, after or without sending what is still buffered."""
        if self.transport is None:
            return
        if flush:
            self._server.outbox.flush()
            self.transport.close()
            self.due = time.monotonic() + self._server.settings.keepalive_s  # for one that does not read
        else:
            self.transport.abort()

    def unsent_bytes(self) -> int:
        """What the client has not taken yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write = self._server.outbox.writer(cast("asyncio.Transport", transport))
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else str(peer or "")
        self.due = time.monotonic() + self._server.settings.keepalive_s
        self._server.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.write = _drop
        self.last = True
        self._requests.clear()
        self._server.lost(self)
        if self._handling is not None and not self._handling.is_eof():
            self._handling.set_exception(exc or ConnectionResetError("the client closed the connection"))
        if self.listener is not None:
            self.listener.client_gone()
        self._wake()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.slow = True
        if self.listener is not None:
            self.listener.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.slow = False
        if self.listener is not None:
            self.listener.resume_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002
        # A body asks for this after every read of it, and aiohttp then parses an empty read for the sake of
        # compressed data that its parser may hold; there is none of that here.
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        # The rest of a body is still wanted when this is the last request.
        if self._deaf or (self.last and self._handling is None):
            return
        assert self._parser is not None
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self.last = self._deaf = True
            self._requests.append(error)
        else:
            if upgraded:
                # Nobody here speaks another protocol, and what follows such a request may be one.
                self.last = self._deaf = True
            if not messages:
                self._note_partial()
                return
            self._requests += messages
        self._partial = False
        if self.serving is None:
            self.due = math.inf
            self.serving = self._loop.create_task(self._serve())
        else:
            self._wake()
        if len(self._requests) >= PIPELINED and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _note_partial(self) -> None:
        """The first bytes of a head, when no request runs, start its time limit."""
        if self._handling is None and not self._partial:
            self._partial = True
            self.due = min(self.due, time.monotonic() + self._server.settings.header_timeout_s)

    # -- one request after another --

    async def _serve(self) -> None:
        try:
            while self._requests or await self._another():
                request = self._requests.popleft()
                if isinstance(request, HttpProcessingError):
                    self._refuse(request)
                    break
                self._let_more_in()
                head, body = request
                self._handling = body
                if not await self._server.handle(self, head, body):
                    await self._linger(body)
                    break
                self._handling = None
        finally:
            self.last = True
            self.hang_up(flush=True)

    async def _another(self) -> bool:
        """Wait for a request; False when there will be none."""
        if not self.last:
            self.due = time.monotonic() + self._server.settings.keepalive_s
            self._wanted = self._loop.create_future()
            await self._wanted
            self.due = math.inf
        return bool(self._requests)

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _let_more_in(self) -> None:
        """One request less waits: the parser may go on, and the transport once it has little left."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._requests) <= PIPELINED // 2:
            self.data_received(b"")
            if len(self._requests) < PIPELINED:
                self._resume_reading_for_buffer()

    async def _linger(self, body: StreamReader) -> None:
        """A socket that is closed with unread bytes in it resets, and takes the answer with it."""
        try:
            async with asyncio.timeout(LINGER_S):
                while not body.is_eof() and await body.readany():
                    pass
        except (TimeoutError, ConnectionError, RequestPayloadError):
            pass

    def _refuse(self, error: HttpProcessingError) -> None:
        logger.info("malformed request from %s: %s", self.address, error.message.partition("\n")[0])
        self.write(error_message(BadRequest("Invalid HTTP request received."), b"", close=True))

    # -- how it ends --

    def finish(self) -> None:
        """Close it as soon as no request runs."""
        self.last = True
        if self.serving is None:
            self.hang_up(flush=True)
        else:
            self._wake()

    def give_up(self) -> None:
        """Close it for want of a request, or of a reader of what it was sent before."""
        if self.transport is None or self.transport.is_closing():
            self.abandon()
            return
        if self._partial:
            late = HeaderTimeout("The head of the request did not arrive in time.")
            self.write(error_message(late, b"", close=True))
        self.finish()

    def abandon(self) -> None:
        """Close it now, whatever runs."""
        if self.serving is not None:
            self.serving.cancel()
        self.hang_up(flush=False)


def _drop(data: bytes) -> None:
    """What is written to a client that is gone."""
