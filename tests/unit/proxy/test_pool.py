"""The connections to one replica, kept between requests."""

import asyncio
import errno
import os
from dataclasses import dataclass
from typing import Any, cast

import pytest

from gateway.proxy.errors import ConnectFailed, OutOfSockets
from gateway.proxy.upstream.connection import Connection
from gateway.proxy.upstream.pool import IDLE_LIMIT_S, ConnectionPool
from gateway.telemetry.meters import ReplicaMeter


@dataclass
class FakeMeter:
    open: int = 0

    def connections(self, change: int) -> None:
        self.open += change


class FakeTransport(asyncio.Transport):
    """Closes at once."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection: Connection | None = connection

    def is_closing(self) -> bool:
        return self._connection is None

    def abort(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection_lost(None)

    close = abort


class Pool:
    """A pool whose connections are opened without a network."""

    def __init__(self, url: str = "http://10.0.0.1:8000") -> None:
        self.meter = FakeMeter()
        self.pool = ConnectionPool(url, cast("ReplicaMeter", self.meter))

    async def open(self, monkeypatch: pytest.MonkeyPatch) -> Connection:
        async def create_connection(factory: Any, *_: Any, **__: Any) -> tuple[Any, Connection]:
            connection: Connection = factory()
            connection.connection_made(FakeTransport(connection))
            return connection.transport, connection

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
        return await self.pool.connect(1.0)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_kept_connection_is_taken_once_and_the_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pool()
    first, second = [await kept.open(monkeypatch) for _ in range(2)]
    kept.pool.idle(first)
    kept.pool.idle(second)
    assert kept.pool.take_idle(now()) is second
    assert kept.pool.take_idle(now()) is first
    assert kept.pool.take_idle(now()) is None
    assert kept.meter.open == 2


async def test_a_connection_that_was_idle_for_too_long_is_closed_and_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Pool()
    old, older = [await kept.open(monkeypatch) for _ in range(2)]
    kept.pool.idle(older)
    kept.pool.idle(old)
    assert kept.pool.take_idle(now() + IDLE_LIMIT_S + 1) is None
    assert kept.meter.open == 0


async def test_a_sweep_closes_those_that_were_idle_for_too_long_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Pool()
    old, new = [await kept.open(monkeypatch) for _ in range(2)]
    kept.pool.idle(old)
    kept.pool.idle(new)
    old.idle_since -= IDLE_LIMIT_S
    kept.pool.sweep(new.idle_since + IDLE_LIMIT_S / 2)
    assert kept.meter.open == 1
    assert kept.pool.take_idle(now()) is new


async def test_a_connection_that_closed_while_idle_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pool()
    connection = await kept.open(monkeypatch)
    kept.pool.idle(connection)
    connection.connection_lost(None)
    assert kept.pool.take_idle(now()) is None
    assert kept.meter.open == 0


async def test_a_connection_that_is_closing_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pool()
    connection = await kept.open(monkeypatch)
    kept.pool.idle(connection)
    monkeypatch.setattr(connection.transport, "is_closing", lambda: True)
    assert kept.pool.take_idle(now()) is None


async def test_a_pool_that_is_gone_closes_what_idles_now_and_what_is_busy_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Pool()
    idle, busy = [await kept.open(monkeypatch) for _ in range(2)]
    kept.pool.idle(idle)
    kept.pool.close()
    assert kept.meter.open == 1
    kept.pool.idle(busy)
    assert kept.meter.open == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (OSError(113, "No route to host"), "No route to host"),
        (OSError("Multiple exceptions: a, b"), "Multiple exceptions"),
        (OSError(), "OSError"),
        (TimeoutError(), "no connection within 2 s"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
    ],
)
async def test_a_connection_that_can_not_be_made_says_why_in_a_few_words(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def create_connection(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    kept = Pool()
    with pytest.raises(ConnectFailed, match=said):
        await kept.pool.connect(2.0)
    assert kept.meter.open == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
async def test_a_connection_for_which_this_machine_has_no_room_is_not_the_replica_s_failure(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def create_connection(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    with pytest.raises(OutOfSockets, match="The gateway can't open another connection"):
        await Pool().pool.connect(2.0)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "host_header", "prefix"),
    [
        ("http://10.0.0.1:8000", "10.0.0.1", 8000, False, b"10.0.0.1:8000", b""),
        ("http://vllm", "vllm", 80, False, b"vllm", b""),
        ("https://vllm/base/", "vllm", 443, True, b"vllm", b"/base"),
        ("http://[::1]:8000", "::1", 8000, False, b"[::1]:8000", b""),
    ],
)
async def test_a_url_says_where_to_connect_and_what_to_call_it(
    url: str,
    host: str,
    port: int,
    tls: bool,  # noqa: FBT001
    host_header: bytes,
    prefix: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    async def create_connection(_: Any, *address: Any, **options: Any) -> None:
        asked.extend((*address, options["ssl"]))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    pool = Pool(url).pool
    with pytest.raises(ConnectFailed):
        await pool.connect(1.0)
    assert asked[:2] == [host, port]
    assert (asked[2] is not None) is tls
    assert (pool.host_header, pool.path_prefix) == (host_header, prefix)
