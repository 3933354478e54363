"""One connection too many, and what follows the end of a stream."""

import asyncio

from gateway.proxy.settings import Settings
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client
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
            while front.planes[0].front.open > 1:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.005)
        fourth = await Client.open(front.port)
        assert (await fourth.ask("POST", CHAT, chat())).status == 200
        for client in (second, fourth):
            client.writer.close()


async def test_what_a_replica_says_behind_the_end_of_a_stream_does_not_break_it() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(event_after_done=True)
        async with await Client.open(front.port) as client:
            reply = await client.ask("POST", CHAT, chat(stream=True))
        assert b"data: [DONE]\n\n" in reply.body
        assert front.count(families.BROKEN) == 0
