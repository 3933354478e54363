"""At the reader's pace, and what happens when it leaves."""

import asyncio
import tracemalloc
from typing import cast

import pytest

from gateway.fleet.snapshot import Timeouts
from gateway.proxy.client import ClientConnection
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, encode, until
from tests.integration.stand_ins import Scripted, chat, sim

CHAT = "/v1/chat/completions"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# -- at the reader's pace --


def endless(size: int) -> Scripted:
    """A replica that streams `size` bytes of events as fast as they are taken."""
    event = chunk(b"data: " + b"x" * 16_000 + b"\n\n")

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replica.request(reader)
        writer.write(STREAM_HEAD)
        for _ in range(size // len(event)):
            writer.write(event)
            await writer.drain()
            replica.written += 1
        writer.write(chunk(DONE) + b"0\r\n\r\n")
        await reader.read()

    return Scripted(script)


def socket_of(client: Client) -> asyncio.Transport:
    return cast("asyncio.Transport", client.writer.transport)


async def stalled(replica: Scripted) -> None:
    """Wait until the replica can't write any more: its count stands still."""
    before = -1
    while replica.written != before:
        before = replica.written
        await asyncio.sleep(0.1)


async def test_a_slow_reader_stops_the_replica_and_the_gateway_keeps_almost_nothing() -> None:
    size = 200 << 20
    async with (
        endless(size) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", CHAT, chat(stream=True)))
        await client.head()
        socket_of(client).pause_reading()
        tracemalloc.start()
        await stalled(replica)
        assert replica.written * 16_000 < 40 << 20  # what the sockets' buffers hold
        socket_of(client).resume_reading()
        read = 0
        while (piece := await client.chunk()) and read < size // 4:
            read += len(piece)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 << 20


async def test_a_client_that_asks_again_and_again_without_reading_is_not_written_to_without_end() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
    asked = 500

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await replica.request(reader)
            writer.write(answer)
            await writer.drain()
            replica.written += 1

    async with (
        Scripted(script) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        socket_of(client).pause_reading()
        client.send(encode("POST", CHAT, chat()) * asked)
        await stalled(replica)
        (connection,) = front.planes[0].front.connections
        assert isinstance(connection, ClientConnection)
        assert connection.unsent_bytes() < 2 << 20
        # Nothing is stuck: the connection to the replica that was held up goes on as well.
        socket_of(client).resume_reading()
        for _ in range(asked):
            assert len((await client.reply()).body) == 100_000


# -- who leaves --

SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_closes_the_replica_s_connection_within_a_second(stream: bool) -> None:  # noqa: FBT001
    async with sim(engine=SLOW) as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=stream, max_tokens=10_000)))
            await until(lambda: replica.running == 1)
            if stream:
                await client.head()
        await until(lambda: replica.state.aborted == 1, 1.0)
        await until(lambda: bool(front.records), 1.0)
        assert front.records[0].outcome == "client_gone"
        assert front.records[0].status == (200 if stream else 499)
        assert front.count(families.DISCONNECTS) == 1
        assert front.count(families.BROKEN) == 0


async def test_half_closing_counts_as_leaving_as_it_does_with_vllm() -> None:
    async with (
        sim(engine=SLOW) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", CHAT, chat(max_tokens=10_000)))
        await until(lambda: replica.running == 1)
        client.writer.write_eof()
        await until(lambda: replica.state.aborted == 1, 1.0)


async def test_a_client_that_leaves_while_its_body_arrives_leaves_no_trace() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat())[:-5])
            await until(lambda: front.planes[0].gateway.running == 1)
        await until(lambda: bool(front.records))
        assert (front.records[0].outcome, front.records[0].status) == ("client_gone", 499)
        assert replica.requests == []


async def test_a_pipelined_request_of_a_client_that_left_is_not_sent() -> None:
    async with sim(engine=SLOW) as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(max_tokens=10_000)) * 2)
            await until(lambda: replica.running == 1)
        await until(lambda: replica.state.aborted == 1, 1.0)
        assert len(replica.requests) == 1


async def test_a_client_that_reads_nothing_for_the_idle_time_is_let_go() -> None:
    plan = {"timeouts": Timeouts(idle_s=0.3)}
    async with endless(64 << 20) as replica, Front(Plan("chat", [replica.url], **plan)) as front:  # type: ignore[arg-type]
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await client.head()
            socket_of(client).pause_reading()
            await until(lambda: bool(front.records))
        assert front.records[0].outcome == "client_gone"
        assert front.outstanding(replica.url) == 0
