"""The status page's stream and its charts' points, over real sockets in front of plain values."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, ClientSession, web

from gateway.config import Address
from gateway.control.admin import feed as feed_module
from gateway.control.admin import listener
from gateway.control.admin.charts import Charts
from gateway.control.admin.guard import Access
from gateway.control.admin.report import Clocks
from gateway.control.admin.status import PoolHistory, Status
from gateway.telemetry.families import CODES, OUTSTANDING, REQUESTS, TTFT
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS
from gateway.telemetry.scoreboard import Scoreboard
from tests.integration.plain_fleet import LAYOUT, Fleet, fleet_of_three

ON_LOOPBACK = Access(Address("127.0.0.1", 9090))
POOL_SLOT = 1


@pytest.fixture
def fleet() -> Any:
    board = Scoreboard.create(LAYOUT)
    yield fleet_of_three(board)
    board.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "TICK_S", 0.02)
    monkeypatch.setattr(listener, "SAMPLE_INTERVAL_S", 0.02)


@asynccontextmanager
async def listening(fleet: Fleet, access: Access = ON_LOOPBACK) -> AsyncIterator[tuple[str, web.AppRunner]]:
    sock = socket.create_server(("127.0.0.1", 0))
    runner = await listener.start(fleet, access, sock)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", runner
    finally:
        await runner.cleanup()


async def next_event(response: ClientResponse, wanted: str) -> bytes:
    """The data of the next event of that name."""
    async with asyncio.timeout(10):
        while True:
            block = await response.content.readuntil(b"\n\n")
            name, data = block.removesuffix(b"\n\n").split(b"\n")
            if name == b"event: " + wanted.encode():
                return data.removeprefix(b"data: ")


async def test_a_watcher_gets_the_document_at_once_and_then_what_changed(fleet: Fleet) -> None:
    async with (
        listening(fleet) as (base, _),
        ClientSession() as session,
        session.get(base + "/api/events") as stream,
    ):
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["X-Content-Type-Options"] == "nosniff"
        first = msgspec.json.decode(await next_event(stream, "status"), type=Status)
        assert first.pools[0].outstanding == 0
        fleet.board.cells[LAYOUT.replica(0, 0) + REPLICA_OFFSETS[OUTSTANDING.name]] = 7
        while first.pools[0].outstanding != 7:
            first = msgspec.json.decode(await next_event(stream, "status"), type=Status)


async def test_points_of_the_charts_come_once_each(fleet: Fleet) -> None:
    async with (
        listening(fleet) as (base, _),
        ClientSession() as session,
        session.get(base + "/api/events") as stream,
    ):
        times: list[float] = []
        for _ in range(4):
            (pool,) = msgspec.json.decode(await next_event(stream, "history"), type=list[PoolHistory])
            assert pool.pool == "chat"
            times += pool.time
        assert times == sorted(set(times))
        async with session.get(base + "/api/history") as response:
            (whole,) = msgspec.json.decode(await response.read(), type=list[PoolHistory])
        assert list(whole.time[: len(times)]) == times


async def test_watchers_share_one_document_a_tick(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "TICK_S", 30.0)
    async with listening(fleet) as (base, _), ClientSession() as session:
        for _ in range(5):
            async with session.get(base + "/api/events") as stream:
                await next_event(stream, "status")
    assert fleet.asked == 1


async def test_closing_the_listener_ends_streams_at_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "TICK_S", 30.0)
    async with (
        listening(fleet) as (base, runner),
        ClientSession() as session,
        session.get(base + "/api/events") as stream,
    ):
        await next_event(stream, "status")
        cleaning = asyncio.create_task(runner.cleanup())
        async with asyncio.timeout(1.5):  # less than what the listener gives to those that do not end
            assert await stream.content.read() == b""
        await cleaning


async def test_the_stream_wants_the_token_like_everything_else(fleet: Fleet) -> None:
    access = Access(Address("0.0.0.0", 9090), "secret")
    async with listening(fleet, access) as (base, _), ClientSession() as session:
        for path in ("/api/events", "/api/history"):
            async with session.get(base + path) as refused:
                assert refused.status == 401
                schemes = [field.partition(" ")[0] for field in refused.headers.getall("WWW-Authenticate")]
                assert schemes == ["Bearer", "Basic"]
            async with session.get(base + path, headers={"Authorization": "Bearer secret"}) as let_in:
                assert let_in.status == 200


def test_a_point_says_what_the_seconds_before_it_were_like(fleet: Fleet) -> None:
    charts, cells = Charts(), fleet.board.cells
    first = LAYOUT.pool(0, POOL_SLOT)
    charts.sample(fleet, Clocks(1000.0, 50.0))
    cells[first + POOL_OFFSETS[REQUESTS.name] + CODES.index("200")] = 10
    cells[first + POOL_OFFSETS[REQUESTS.name] + CODES.index("503")] = 5
    cells[first + POOL_OFFSETS[TTFT.name] + TTFT.bounds.index(0.1)] = 10
    cells[LAYOUT.replica(1, 0) + REPLICA_OFFSETS[OUTSTANDING.name]] = 4
    charts.sample(fleet, Clocks(1005.0, 55.0))
    (found,) = charts.since(1000.0)
    assert found == PoolHistory(
        pool="chat",
        time=(1005.0,),
        requests_per_s=(3.0,),
        server_errors_per_s=(1.0,),
        ttft_p50_s=(0.075,),
        ttft_p95_s=(0.0975,),
        itl_p50_s=(None,),
        itl_p95_s=(None,),
        outstanding=(4,),
        queue_depth=(0,),
    )
