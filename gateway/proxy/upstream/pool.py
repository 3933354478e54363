"""The connections to one replica, kept between requests."""

import asyncio
import errno
import ssl
import time
from urllib.parse import urlsplit

from gateway.proxy.errors import ConnectFailed, OutOfSockets
from gateway.proxy.outbox import Outbox
from gateway.proxy.upstream.connection import Connection
from gateway.telemetry.meters import ReplicaMeter

IDLE_LIMIT_S = 4.0
"""vLLM's uvicorn closes an idle connection after 5 s; a POST that crosses that is a classic 502."""


_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))
"""What a connection attempt fails with when this machine has no more to give."""


class ConnectionPool:
    """Idle connections to one address, the most recently used first, and the making of new ones."""

    def __init__(self, url: str, meter: ReplicaMeter) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._meter = meter
        self.outbox = Outbox()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False
        self.host_header = parts.netloc.encode("ascii")
        self.path_prefix = parts.path.rstrip("/").encode("ascii")

    def take_idle(self, now: float) -> Connection | None:
        """A connection that is open and was used a moment ago, if there is one; `now` is monotonic."""
        while self._idle:
            connection = self._idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if now - connection.idle_since < IDLE_LIMIT_S:
                return connection
            connection.abandon()
        return None

    async def connect(self, timeout_s: float) -> Connection:
        """A new connection.

        Raises:
            ConnectFailed: the replica's side; the message says why in a few words.
            OutOfSockets: ours.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise ConnectFailed(f"no connection within {timeout_s:g} s") from None
        except ConnectionRefusedError:
            raise ConnectFailed("connection refused") from None
        except OSError as error:
            if error.errno in _OURS:
                raise OutOfSockets(
                    f"The gateway can't open another connection ({error.strerror}).", retry_after_s=1.0
                ) from None
            raise ConnectFailed(error.strerror or str(error) or type(error).__name__) from None
        except UnicodeError as error:
            raise ConnectFailed(f"no such host name ({error})") from None
        self._open.add(connection)
        self._meter.connections(+1)
        return connection

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        while self._idle and now - self._idle[0].idle_since >= IDLE_LIMIT_S:
            self._idle.pop(0).abandon()

    def close(self) -> None:
        """Close idle connections now and busy ones when their exchange ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().abandon()

    # -- told by connections --

    def idle(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if self._closed:
            connection.abandon()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        if connection in self._open:
            self._open.remove(connection)
            self._meter.connections(-1)
        if connection in self._idle:
            self._idle.remove(connection)
