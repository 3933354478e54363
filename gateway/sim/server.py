"""The replica's HTTP server: listens, finds the handler, and breaks what the faults say.

Owns the listening socket and the open connections. Implements the connection's `Handler`.
"""

import asyncio
import random
import secrets
import socket
from typing import Any

import orjson

from gateway.sim import errors
from gateway.sim.connection import Connection, Request
from gateway.sim.errors import ApiError
from gateway.sim.faults import NO_FAULTS, Faults
from gateway.sim.options import SimOptions
from gateway.sim.routes import Call, Route
from gateway.sim.state import ReplicaState
from gateway.sim.surface import routes_of
from gateway.sim.wire import JSON, Response

_GUARDED = ("/v1", "/v2", "/inference", "/cohere")
"""Prefixes that need the API key (vLLM's authentication middleware)."""

_BACKLOG = 2048
_GARBAGE = b"ICY \xff\xfe not a status line\r\n\r\n"


def replica_url(host: str, port: int) -> str:
    """Return the base URL of a replica."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SimServer:
    """One simulated replica on one port."""

    def __init__(self, options: SimOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.keep_alive_s = options.keep_alive_s
        self.state = ReplicaState(options, loop, self._on_faults)
        self.port = options.port
        self._loop = loop
        self._routes = routes_of(pooling=options.pooling)
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._stopped = False

    # -- listening --

    @property
    def url(self) -> str:
        return replica_url(self.options.host, self.port)

    async def start(self) -> None:
        """Bind, and listen unless the faults say otherwise.

        Raises:
            OSError: The address is taken or not ours.
        """
        self._reserve()
        if not self.state.faults.refuses:
            await self._listen()

    def _reserve(self) -> None:
        """Bind without listening: the port stays ours and connections to it are refused."""
        family = socket.AF_INET6 if ":" in self.options.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.options.host, self.port))
        self.port = sock.getsockname()[1]
        self._reserved = sock

    async def _listen(self) -> None:
        sock, self._reserved = self._reserved, None
        if sock is None:
            return
        listener = await self._loop.create_server(
            lambda: Connection(self, self._loop), sock=sock, backlog=_BACKLOG
        )
        self._listener = listener
        # The faults may have changed, or the replica ended, while the loop was opening.
        if self._stopped:
            self.stop()
        elif self.state.faults.refuses:
            self._refuse()

    def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._reserve()
        for connection in [connection for connection in self._connections if connection.is_idle]:
            connection.close()

    def _on_faults(self, faults: Faults) -> None:
        if faults.refuses:
            self._refuse()
        elif self._reserved is not None:
            self._reserved.listen(_BACKLOG)  # from now on nobody is refused; accepting follows
            self._opening = self._loop.create_task(self._listen())

    def stop(self) -> None:
        """Be gone, as after kill -9: every connection ends at once."""
        self._stopped = True
        self.state.clock.stop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        for connection in list(self._connections):
            connection.abort()

    # -- the connection's handler --

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def pieces(self) -> tuple[int, float]:
        faults = self.state.faults
        return faults.piece_bytes, faults.piece_delay_s

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer a request, now or later."""
        call = Call(self.state, request, connection, self.state.record(request), NO_FAULTS)
        if self.options.request_id_headers:
            given = request.header("x-request-id") or f"{random.getrandbits(128):032x}"
            call.extra_head = f"x-request-id: {given}\r\n"
        route = self._routes.get(request.path)
        response = self._refusal(request, route)
        if response is not None or route is None:
            call.respond(response or errors.router_error(404, "Not Found"))
            return
        if not route.inference:
            self._run(call, route)
            return
        call.faults = self.state.draw_faults()
        if call.faults.head_delay_s:
            self._loop.call_later(call.faults.head_delay_s, self._inference, call, route)
        else:
            self._inference(call, route)

    def _refusal(self, request: Request, route: Route | None) -> Response | None:
        """Check key, path and method, in vLLM's order."""
        key = self.options.api_key
        if key is not None and request.path.startswith(_GUARDED) and request.method != "OPTIONS":
            scheme, _, given = (request.header("authorization") or "").partition(" ")
            if scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), key.encode()):
                return errors.unauthorized()
        if route is None:
            return errors.router_error(404, "Not Found")
        if request.method not in route.methods:
            return errors.router_error(405, "Method Not Allowed", ", ".join(route.methods))
        return None

    def _inference(self, call: Call, route: Route) -> None:
        """Apply the faults that come before any work, then work."""
        faults, connection = call.faults, call.connection
        if connection.lost:
            return
        if faults.garbage_status_line:
            connection.write(_GARBAGE)
            connection.close()
        elif faults.endless_headers:
            self._endless_headers(connection, 0)
        elif faults.status:
            retry = (("retry-after", faults.retry_after),) if faults.retry_after else ()
            body = orjson.dumps(errors.faulty_status(faults.status).body())
            call.respond(Response(faults.status, body, JSON, retry))
        else:
            self._run(call, route)

    def _run(self, call: Call, route: Route) -> None:
        try:
            if route.inference and self.state.faults.drain:
                raise errors.draining()
            response = route.handler(call)
        except ApiError as error:
            response = _anthropic(error) if route.anthropic else error.response()
        if response is not None:
            status = f"{response.status // 100}xx"
            call.respond(response)
        else:
            status = "2xx"
        if route.inference:
            self.state.http_requests[call.request.path, call.request.method, status] += 1

    def _endless_headers(self, connection: Connection, number: int) -> None:
        if connection.lost:
            return
        if number == 0:
            connection.write(b"HTTP/1.1 200 OK\r\n")
        if not connection.is_choked:
            connection.write(b"".join(b"x-endless-%d: again\r\n" % (number + i) for i in range(64)))
        self._loop.call_later(0.001, self._endless_headers, connection, number + 64)


def _anthropic(error: ApiError) -> Response:
    payload: dict[str, Any] = {"type": "error", "error": {"type": error.kind, "message": error.message}}
    return Response(error.status, orjson.dumps(payload), JSON)
