"""How a client's connection is given up."""

import asyncio
from typing import Any

from gateway.proxy.client import ClientConnection, Handler
from gateway.proxy.outbox import Outbox
from gateway.proxy.settings import Settings


class Listener:
    """Whom the connection was accepted for."""

    handle: Handler
    settings = Settings(keepalive_s=5, header_timeout_s=1)

    def __init__(self) -> None:
        self.outbox = Outbox()

    def opened(self, connection: ClientConnection) -> None:
        pass

    def lost(self, connection: ClientConnection) -> None:
        pass


class Line(asyncio.Transport):
    """A transport that closes only when it has sent everything, and never does."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default


def connected() -> tuple[ClientConnection, Line]:
    connection, line = ClientConnection(Listener()), Line()
    connection.connection_made(line)
    return connection, line


async def test_a_client_that_says_nothing_is_closed_without_a_word() -> None:
    connection, line = connected()
    connection.give_up()
    assert (line.sent, line.ended) == (b"", "closed")


async def test_a_client_that_began_a_head_is_told_and_its_time_is_shorter() -> None:
    connection, line = connected()
    idle = connection.due
    connection.data_received(b"GET / HT")
    begun = connection.due
    connection.data_received(b"TP")
    assert connection.due == begun < idle
    connection.give_up()
    assert line.sent.startswith(b"HTTP/1.1 408 ")
    assert line.ended == "closed"


async def test_a_client_that_does_not_read_what_is_left_is_let_go_at_last() -> None:
    connection, line = connected()
    connection.due = float("inf")
    connection.hang_up(flush=True)
    assert line.ended == "closed"
    assert connection.due < float("inf")
    connection.give_up()
    assert line.ended == "aborted"
