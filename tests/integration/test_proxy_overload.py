"""More load than the replicas can take: they stay as busy as without, and nobody waits without end."""

import asyncio
import time
from collections import Counter

from gateway.fleet.snapshot import Limits
from gateway.sim import EngineLimits
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client
from tests.integration.stand_ins import chat, sim

CHAT = "/v1/chat/completions"
CAP, QUEUE, TOKENS = 4, 16, 16
ENGINE = EngineLimits(step_s=0.01, prefill_tokens_per_s=0)


async def served(front: Front, clients: int, requests: int) -> Counter[int]:
    """So many answers to clients that each ask again at once; all statuses they saw."""
    statuses: Counter[int] = Counter()

    async def be_a_client(number: int) -> None:
        async with await Client.open(front.planes[number % len(front.planes)].port) as client:
            while statuses[200] < requests:
                reply = await client.ask("POST", CHAT, chat(max_tokens=TOKENS))
                statuses[reply.status] += 1
                if reply.status == 429:
                    assert int(reply.header("retry-after") or 0) >= 1
                    await asyncio.sleep(0.01)

    await asyncio.gather(*map(be_a_client, range(clients)))
    return statuses


async def test_above_capacity_no_replica_has_room_for_long_and_no_more_than_the_queue_wait() -> None:
    async with sim(engine=ENGINE) as a, sim(engine=ENGINE) as b:
        limits = Limits(outstanding_per_replica=CAP, queue=QUEUE)
        async with Front(Plan("chat", [a.url, b.url], limits=limits), workers=2) as front:
            longest, somebody_waits_s, with_room_s = 0, 0.0, 0.0

            async def watch() -> None:
                nonlocal longest, somebody_waits_s, with_room_s
                last = time.monotonic()
                while True:
                    running = [front.outstanding(url) for url in (a.url, b.url)]
                    waiting = front.queued()
                    assert max(running) <= CAP
                    await asyncio.sleep(0.001)
                    now = time.monotonic()
                    somebody_waits_s += (now - last) * (waiting > 0)
                    # What is missing of all that the replicas could do meanwhile.
                    with_room_s += (now - last) * (waiting > 0) * (1 - sum(running) / (2 * CAP))
                    longest, last = max(longest, waiting), now

            watching = asyncio.create_task(watch())
            statuses = await served(front, clients=8 * 2 * CAP, requests=100)
            watching.cancel()
            assert set(statuses) == {200, 429}
            assert longest == QUEUE
            assert with_room_s < 0.1 * somebody_waits_s
