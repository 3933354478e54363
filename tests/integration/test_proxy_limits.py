"""One connection too many, and what follows the end of a stream."""

import asyncio
import resource

from gateway.fleet.ejection import Marks
from gateway.fleet.snapshot import Ejection
from gateway.proxy.settings import Settings
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, encode, until
from tests.integration.stand_ins import chat, sim

CHAT = "/v1/chat/completions"


async def test_one_connection_too_many_is_closed_and_a_free_place_is_taken() -> None:
    settings = Settings(connections=2)
    async with sim() as replica, Front(Plan("chat", [replica.url]), settings=settings) as front:
        first, second = await Client.open(front.port), await Client.open(front.port)
        assert (await first.ask("POST", CHAT, chat())).status == 200
        assert (await second.ask("POST", CHAT, chat())).status == 200
        third = await Client.open(front.port)
        assert await third.rest() == b""
        third.writer.close()
        first.writer.close()
        await first.writer.wait_closed()
        async with asyncio.timeout(5):
            while len(front.planes[0].front.connections) > 1:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.005)
        fourth = await Client.open(front.port)
        assert (await fourth.ask("POST", CHAT, chat())).status == 200
        for client in (second, fourth):
            client.writer.close()


async def test_without_a_descriptor_a_request_is_503_and_no_replica_is_blamed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with (
        sim() as a,
        sim() as b,
        Front(Plan("chat", [a.url, b.url]), ejection=Ejection()) as front,
        await Client.open(front.port) as client,
    ):
        assert (await client.ask("GET", "/health")).status == 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            reply = await client.ask("POST", CHAT, chat())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (reply.status, reply.header("x-gateway-error")) == (503, "out_of_sockets")
        assert int(reply.header("retry-after") or 0) >= 1
        assert front.count(families.SHED, "sockets") == 1
        assert front.count(families.RETRIES, "connect") == 0
        assert [front.board.marks(slot) for slot in range(2)] == [Marks(), Marks()]
        assert (await client.ask("POST", CHAT, chat())).status == 200


async def test_what_a_replica_says_behind_the_end_of_a_stream_does_not_break_it() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(event_after_done=True)
        async with await Client.open(front.port) as client:
            reply = await client.ask("POST", CHAT, chat(stream=True))
        assert b"data: [DONE]\n\n" in reply.body
        assert front.count(families.BROKEN) == 0


async def test_a_body_that_is_under_way_when_the_gateway_drains_is_still_received() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        request = encode("POST", CHAT, chat())
        async with await Client.open(front.port) as client:
            client.send(request[:-10])
            await until(lambda: front.planes[0].gateway.running == 1)
            front.planes[0].front.drain()
            client.send(request[-10:])
            reply = await client.reply()
            assert (reply.status, reply.header("connection")) == (200, "close")
            assert await client.rest() == b""
