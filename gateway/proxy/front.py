"""The public listener: a bounded number of client connections, and how they end together."""

import asyncio

from gateway.proxy.client import ClientConnection, Handler
from gateway.proxy.outbox import Outbox
from gateway.proxy.settings import Settings
from gateway.telemetry.meters import WorkerMeter


class RefusedConnection(asyncio.Protocol):
    """One connection too many: closed at once, before it costs anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class FrontServer:
    """Makes a `ClientConnection` for each accepted socket, up to a number of them."""

    def __init__(self, handle: Handler, meter: WorkerMeter, settings: Settings) -> None:
        self.handle = handle
        self.settings = settings
        self.outbox = Outbox()
        self.connections: set[ClientConnection] = set()
        self._meter = meter

    def __call__(self) -> asyncio.Protocol:
        """One connection's protocol (the protocol factory of `loop.create_server`)."""
        if len(self.connections) >= self.settings.connections:
            return RefusedConnection()
        return ClientConnection(self)

    def opened(self, connection: ClientConnection) -> None:
        """Told by a connection."""
        self.connections.add(connection)
        self._meter.clients(+1)

    def lost(self, connection: ClientConnection) -> None:
        """Told by a connection."""
        self.connections.discard(connection)
        self._meter.clients(-1)

    def sweep(self, now: float) -> None:
        """Close connections that have sent no request for too long; `now` is monotonic."""
        for connection in [one for one in self.connections if one.due <= now]:
            connection.give_up()

    def drain(self) -> None:
        """Close each connection as soon as no request runs on it."""
        for connection in tuple(self.connections):
            connection.finish()

    async def close(self, timeout_s: float) -> None:
        """Wait for what still runs, at most for so many seconds, and close everything."""
        running = [one.serving for one in self.connections if one.serving is not None]
        if running:
            await asyncio.wait(running, timeout=timeout_s)
        for connection in tuple(self.connections):
            connection.abandon()
        while self.connections:  # noqa: ASYNC110  (a transport says in the loop's next turn that it is closed)
            await asyncio.sleep(0)
