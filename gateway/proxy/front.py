"""The public HTTP server: aiohttp's parser and connection handling, without its application layer.

A handler writes its answer to the client's transport itself and returns `ALREADY_SENT`-like markers, since
`StreamResponse.prepare` and `write` cost more than the relay does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from gateway.proxy.errors import BadRequest, ClientGone
from gateway.proxy.messages import error_message
from gateway.telemetry.meters import WorkerMeter

logger = logging.getLogger(__name__)


class AlreadySent(web.StreamResponse):
    """Tells aiohttp that the answer is on its way, and whether the connection can carry another one."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._reusable = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """Whether the next request is waited for."""
        return self._reusable

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing to prepare: the head has left."""
        return None

    async def write_eof(self, data: bytes | bytearray | memoryview = b"") -> None:
        """Nothing to end: the body has ended."""


class Incoming(web.BaseRequest):
    """A request whose parts are attributes: aiohttp's nine properties cost a call each."""

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: "ClientConnection",
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> None:
        super().__init__(message, payload, protocol, writer, task, protocol.loop)
        self.head = message
        self.payload = payload
        self.client = protocol


Handler = Callable[[Incoming], Awaitable[web.StreamResponse]]


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


class ClientConnection(web.RequestHandler):
    """One client connection. Whoever answers its current request is its `listener`."""

    __slots__ = ("_counted", "_server", "address", "listener", "loop")

    def __init__(self, server: "FrontServer", **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(server, loop=self.loop, **options)
        self.listener: Listener | None = None
        self._counted = server.meter
        self._server = server
        self.address = ""

    def listen(self, listener: Listener | None) -> None:
        """Tell `listener` from now on. Raises `ClientGone` when there is nobody left to listen to."""
        self.listener = listener
        if listener is not None and self.transport is None:
            raise ClientGone("the client closed the connection")

    # -- for the answer (`gateway.proxy.answer.Client`) --

    def write(self, data: bytes) -> None:
        """Send bytes, or drop them when the client is gone."""
        if self.transport is not None:
            self.transport.write(data)

    def hang_up(self, *, flush: bool) -> None:
        """Close the connection, after or without sending what is still buffered."""
        if self.transport is None:
            return
        if flush:
            self.transport.close()
        else:
            self.transport.abort()

    def unsent_bytes(self) -> int:
        """What the client has not taken yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    # -- asyncio.Protocol --

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002
        # aiohttp asks for this after every read of a body, and then parses an empty read for the sake of
        # compressed data that its parser may hold; there is none of that here (`auto_decompress`).
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._counted.clients(+1)
        self._server.open += 1
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else str(peer or "")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._counted.clients(-1)
        self._server.open -= 1
        super().connection_lost(exc)
        if self.listener is not None:
            self.listener.client_gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.listener is not None:
            self.listener.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.listener is not None:
            self.listener.resume_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        # Everything has been written; aiohttp would ask the answer to prepare and end itself.
        if self._upgraded:
            return await super().finish_response(request, resp, start_time)
        return resp, False

    # -- what aiohttp does when it can't make sense of a request, or a handler fails --

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """One short line and OpenAI's shape, where aiohttp logs a traceback for each bad request."""
        if status < 500:  # noqa: PLR2004
            logger.info(
                "malformed request from %s: %s", self.peername, (message or str(exc)).partition("\n")[0]
            )
        else:
            logger.error("a request handler failed", exc_info=exc)
        self.write(error_message(BadRequest("Invalid HTTP request received."), b"", close=True))
        return AlreadySent(keep_alive=False)


class RefusedConnection(asyncio.Protocol):
    """One connection too many: closed at once, before it costs anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class FrontServer(web.Server):
    """Makes a `ClientConnection` for each accepted socket, up to a number of them."""

    def __init__(
        self,
        handler: Handler,
        meter: WorkerMeter,
        limit: int,
        **options: Any,
    ) -> None:
        super().__init__(handler, request_factory=Incoming)  # type: ignore[arg-type]  # it makes `Incoming`
        self.meter = meter
        self.open = 0
        self._limit = limit
        self._options = options

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]  # one too many is not served at all
        """One connection's protocol (the protocol factory of `loop.create_server`)."""
        if self.open >= self._limit:
            return RefusedConnection()
        return ClientConnection(self, **self._options)
