"""A connection to a replica with both its ends in a test's hands."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from gateway.proxy.outbox import Outbox, Write
from gateway.proxy.upstream.connection import Connection


class FakeTransport(asyncio.Transport):
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.written: list[bytes] = []
        self.closed = ""
        self.reading = True

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.written += [bytes(data) for data in list_of_data]

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return bool(self.closed)

    def close(self) -> None:
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        self.closed = self.closed or "aborted"


class DirectOutbox(Outbox):
    """Writes at once."""

    def writer(self, transport: asyncio.WriteTransport) -> Write:
        return transport.write


@dataclass
class FakePool:
    """What became of the connection."""

    outbox: Outbox = field(default_factory=DirectOutbox)
    idle_again: list[Connection] = field(default_factory=list)
    gone: list[Connection] = field(default_factory=list)

    def idle(self, connection: Connection) -> None:
        self.idle_again.append(connection)

    def closed(self, connection: Connection) -> None:
        self.gone.append(connection)


@dataclass
class FakeExchange:
    """What an exchange was told."""

    body: bytes = b""
    calls: int = 0
    complete: int = 0
    reason: str = ""
    sending: list[str] = field(default_factory=list)

    def received(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        assert not self.complete
        assert not self.reason
        self.body += data
        self.calls += 1
        self.complete += complete

    def lost(self, reason: str) -> None:
        assert not self.complete
        assert not self.reason
        self.reason = reason

    def pause_sending(self) -> None:
        self.sending.append("pause")

    def resume_sending(self) -> None:
        self.sending.append("resume")


class Line:
    """A connection with both its ends."""

    def __init__(self) -> None:
        self.pool = FakePool()
        self.connection = Connection(self.pool)
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)

    def ask(self, *, finished: bool = True) -> FakeExchange:
        exchange = FakeExchange()
        self.connection.begin(exchange, b"POST / HTTP/1.1\r\n\r\n", b"{}", finished=finished)
        return exchange

    def answered(self, *pieces: bytes, finished: bool = True) -> FakeExchange:
        exchange = self.ask(finished=finished)
        for piece in pieces:
            self.connection.data_received(piece)
        return exchange

    def end(self, error: Exception | None = None) -> None:
        self.connection.eof_received()
        self.connection.connection_lost(error)

    @property
    def kept(self) -> bool:
        return bool(self.pool.idle_again) and not self.transport.closed
