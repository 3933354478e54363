"""A thousand requests of mixed fate over four workers: counts are right at the end and never below zero."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

from gateway.fleet.snapshot import Ejection, Limits, Timeouts
from gateway.sim import EngineLimits, SimulatedReplica
from gateway.telemetry import families
from gateway.telemetry.layout import REPLICA_OFFSETS
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, encode
from tests.integration.stand_ins import chat, sim, unused_url

CHAT = "/v1/chat/completions"
REQUESTS, AT_ONCE = 1000, 60
ENGINE = EngineLimits(step_s=0.002, prefill_tokens_per_s=0, max_num_seqs=8)

FAULTS: list[dict[str, Any]] = [
    {},
    {"status": 500},
    {"status": 503},
    {"reset_after_tokens": 0},
    {"reset_after_tokens": 3},
    {"truncate_after_tokens": 2},
    {"error_event_after_tokens": 2},
    {"abort_after_tokens": 1},
    {"stall_after_tokens": 2},
    {"head_delay_s": 5.0},
    {"garbage_status_line": True},
    {"content_length_delta": 3},
]


async def one(front: Front, rng: Random) -> str:
    """One client's life: what it asks, when it leaves, and what it got."""
    stream = rng.random() < 0.5
    body = chat(f"number {rng.random()}", stream=stream, max_tokens=rng.randint(1, 12))
    leaves = rng.choice(["never"] * 6 + ["at once", "after a moment", "after the head", "with half a body"])
    moment = rng.random() * 0.03
    request = encode("POST", CHAT, body)
    async with await Client.open(rng.choice(front.planes).port) as client:
        client.send(request[:-10] if leaves == "with half a body" else request)
        if leaves == "never":
            reply = await client.reply()
            return f"{reply.status} {reply.end}" if reply.head else "cut"
        if leaves == "after the head":
            await asyncio.wait({asyncio.ensure_future(client.reader.read(1))}, timeout=1.0)
        elif leaves != "at once":
            await asyncio.sleep(moment)
        client.writer.transport.abort()
    return "left"


async def faults_come_and_go(replicas: list[SimulatedReplica], rng: Random) -> None:
    while True:
        replica = rng.choice(replicas)
        replica.clear_faults()
        replica.set_faults(**rng.choice(FAULTS), probability=0.7, seed=rng.randint(0, 99))
        await asyncio.sleep(0.02)


async def never_below_zero(front: Front, urls: list[str]) -> None:
    offset = REPLICA_OFFSETS["replica_outstanding"]
    layout = front.board.layout
    cells = [layout.replica(worker, slot) + offset for worker in range(4) for slot in range(len(urls))]
    while True:
        assert all(front.board.cells[cell] >= 0 for cell in cells)
        assert all(front.outstanding(url) <= 6 for url in urls)
        await asyncio.sleep(0)


async def test_a_thousand_requests_of_mixed_fate_leave_nothing_behind() -> None:
    rng = Random(4711)
    async with sim(engine=ENGINE) as a, sim(engine=ENGINE) as b, sim(engine=ENGINE) as c:
        urls = [a.url, b.url, c.url, unused_url()]
        plan = Plan(
            "chat",
            urls,
            limits=Limits(outstanding_per_replica=6, queue=30, queue_timeout_s=0.3),
            timeouts=Timeouts(first_byte_s=0.4, idle_s=0.3),
        )
        ejection = Ejection(base_s=0.05, penalty_s=0.02)
        async with Front(plan, workers=4, ejection=ejection) as front:
            watching = asyncio.create_task(never_below_zero(front, urls))
            breaking = asyncio.create_task(faults_come_and_go([a, b, c], rng))
            gate = asyncio.Semaphore(AT_ONCE)

            async def gated() -> str:
                async with gate:
                    return await one(front, rng)

            fates = Counter(await asyncio.gather(*(gated() for _ in range(REQUESTS))))
            breaking.cancel()
            assert not watching.done()
            watching.cancel()
            for replica in (a, b, c):
                replica.clear_faults()
            # `Front` now waits until every gauge is zero. What was counted agrees with what was recorded:
            async with asyncio.timeout(5):
                while any(plane.gateway.running for plane in front.planes):  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0.005)
            answered = sum(count for fate, count in fates.items() if fate != "left")
            assert answered <= len(front.records) <= REQUESTS
            counted = sum(front.count(families.REQUESTS, code) for code in families.CODES)
            assert counted == sum(bool(record.model) for record in front.records)
            outcomes = Counter(record.outcome for record in front.records)
            assert outcomes.keys() == {"complete", "error", "broken", "client_gone"}
            assert front.count(families.DISCONNECTS) == outcomes["client_gone"] - sum(
                record.outcome == "client_gone" and not record.model for record in front.records
            )
            assert front.count(families.BROKEN) == outcomes["broken"]
            # The storm was one: each of these fates was met.
            assert {"200 complete", "200 eof", "429 complete", "left"} <= fates.keys()
        for replica in (a, b, c):
            assert replica.running == 0
