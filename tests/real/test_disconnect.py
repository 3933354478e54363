"""A client that goes away: the replica must stop working for it, as its own metrics tell."""

import asyncio

import aiohttp
import pytest

from tests.real.fleet import BASE, WITH_BOTH, Fleet
from tests.real.front import Gateway
from tests.real.guarded import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

MANY = 2000
SLOTS = WITH_BOTH.max_num_seqs
LONG = {"model": BASE, "prompt": "Tokens arrive", "max_tokens": MANY, "temperature": 0}


def running(fleet: Fleet) -> int:
    return fleet.with_both.running_requests() + fleet.with_one.running_requests()


def generated(fleet: Fleet) -> int:
    return fleet.with_both.generated_tokens() + fleet.with_one.generated_tokens()


async def until_running(fleet: Fleet, count: int) -> None:
    await asyncio.to_thread(wait_until, lambda: running(fleet) == count, f"{count} requests run", 60)


async def test_a_stream_its_client_leaves_is_aborted_in_the_replica(
    fleet: Fleet, gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    before = generated(fleet)
    async with http.post(f"{gateway.url}/v1/completions", json={**LONG, "stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        await until_running(fleet, 1)
        response.close()
    await until_running(fleet, 0)
    assert generated(fleet) - before < MANY


async def test_an_answer_its_client_does_not_wait_for_is_aborted_in_the_replica(
    fleet: Fleet, gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    before = generated(fleet)
    waiting = asyncio.create_task(http.post(f"{gateway.url}/v1/completions", json=LONG).__aenter__())
    await until_running(fleet, 1)
    waiting.cancel()
    await until_running(fleet, 0)
    assert generated(fleet) - before < MANY


async def test_requests_still_queued_in_a_replica_leave_its_queue_with_their_clients(
    fleet: Fleet, gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    clients = [
        asyncio.create_task(http.post(f"{gateway.url}/v1/completions", json=LONG).__aenter__())
        for _ in range(2 * SLOTS + 8)
    ]
    await until_running(fleet, 2 * SLOTS)
    for client in clients:
        client.cancel()
    await until_running(fleet, 0)
    waiting = [replica.metric("vllm:num_requests_waiting") for replica in (fleet.with_both, fleet.with_one)]
    assert waiting == [0, 0]
