"""Requests to a replica that is broken on purpose."""

import asyncio

import pytest

from gateway.sim import EngineLimits, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, Reply, ask

LIMITS = EngineLimits(step_s=0.001, prefill_tokens_per_s=0)
PATH = "/v1/completions"
BODY = {"prompt": "x", "max_tokens": 10}
STREAM = {**BODY, "stream": True}


async def streamed(replica: SimulatedReplica) -> Reply:
    return await ask(replica.port, "POST", PATH, STREAM)


async def plain(replica: SimulatedReplica) -> Reply:
    return await ask(replica.port, "POST", PATH, BODY)


async def is_well(replica: SimulatedReplica) -> bool:
    reply = await streamed(replica)
    return (reply.end, reply.text) == ("complete", expected_text("demo", None, "x", 10))


async def silence(client: Client, for_s: float = 0.05) -> None:
    """Take what is on its way, then make sure that nothing more comes and nothing closes."""
    try:
        while data := await asyncio.wait_for(client.reader.read(1 << 16), for_s):
            assert data
    except TimeoutError:
        return
    pytest.fail("the connection was closed")
