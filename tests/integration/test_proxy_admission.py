"""Caps, queues and who gets the next request."""

import asyncio

from gateway.fleet.snapshot import Limits, State
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import chat, sim

CHAT = "/v1/chat/completions"
SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


# -- admission --


def capped(url: str, **limits: float) -> Plan:
    return Plan("chat", [url], limits=Limits(outstanding_per_replica=1, **limits))  # type: ignore[arg-type]


async def test_a_full_queue_is_429_and_a_wait_too_long_503_each_with_retry_after() -> None:
    async with sim() as replica:
        replica.set_faults(freeze=True)
        async with Front(capped(replica.url, queue=1, queue_timeout_s=0.3)) as front:
            running = await Client.open(front.port)
            running.send(encode("POST", CHAT, chat()))
            await until(lambda: front.outstanding(replica.url) == 1)
            waiting = asyncio.create_task(ask(front.port, "POST", CHAT, chat()))
            await until(lambda: front.queued() == 1)
            full = await ask(front.port, "POST", CHAT, chat())
            assert (full.status, full.json["error"]["type"]) == (429, "RateLimitError")
            late = await waiting
            assert (late.status, late.header("x-gateway-error")) == (503, "queue_timeout")
            for reply in (full, late):
                assert int(reply.header("retry-after") or 0) >= 1
            assert [front.count(families.SHED, reason) for reason in ("queue_full", "queue_timeout")] == [
                1,
                1,
            ]
            assert len(replica.requests) == 1
            running.writer.close()


async def test_who_waits_is_served_when_there_is_room_also_room_made_by_another_worker() -> None:
    async with sim(engine=SLOW) as replica, Front(capped(replica.url), workers=2) as front:
        asks = [ask(front.planes[n % 2].port, "POST", CHAT, chat(max_tokens=2)) for n in range(10)]
        highest = 0

        async def watch() -> None:
            nonlocal highest
            while True:
                highest = max(highest, front.outstanding(replica.url))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        assert [reply.status for reply in await asyncio.gather(*asks)] == [200] * 10
        watching.cancel()
        assert highest == 1
        assert any(record.queued_s > 0 for record in front.records)


async def test_lower_priority_values_are_served_first_by_body_or_by_the_allowed_header() -> None:
    async with sim() as replica:
        replica.set_faults(freeze=True)
        plan = Plan(
            "chat", [replica.url], limits=Limits(outstanding_per_replica=1), priority_header="X-Priority"
        )
        async with Front(plan) as front:
            asks = []
            for n, (priority, headers) in enumerate(
                (
                    (0, {}),
                    (5, {}),
                    (0, {"x_priority": "7"}),
                    (-1, {}),
                    (9, {"x_priority": "1"}),
                    (0, {"x_priority": "?"}),
                )
            ):
                body = chat(priority=priority, max_tokens=1)
                asks.append(
                    asyncio.create_task(ask(front.port, "POST", CHAT, body, x_request_id=f"{n}", **headers))
                )
                await until(lambda n=n: front.outstanding(replica.url) + front.queued() == n + 1)  # type: ignore[misc]
            replica.clear_faults()
            await asyncio.gather(*asks)
            assert [record.request_id for record in front.records] == ["0", "3", "5", "4", "1", "2"]


async def test_a_waiter_whose_client_left_disappears() -> None:
    async with sim() as replica:
        replica.set_faults(freeze=True)
        async with Front(capped(replica.url)) as front:
            running = asyncio.create_task(ask(front.port, "POST", CHAT, chat()))
            await until(lambda: front.outstanding(replica.url) == 1)
            async with await Client.open(front.port) as client:
                client.send(encode("POST", CHAT, chat()))
                await until(lambda: front.queued() == 1)
            await until(lambda: front.queued() == 0, 1.0)
            assert (front.records[0].outcome, front.records[0].status) == ("client_gone", 499)
            replica.clear_faults()
            assert (await running).status == 200
            assert len(replica.requests) == 1


async def test_a_model_whose_replicas_are_starting_holds_requests_until_one_is_up() -> None:
    async with (
        sim() as replica,
        Front(
            Plan("chat", [replica.url], states={replica.url: State.STARTING}, unread=[replica.url])
        ) as front,
    ):
        waiting = asyncio.create_task(ask(front.port, "POST", CHAT, chat()))
        await until(lambda: front.queued() == 1)
        front.show(Plan("chat", [replica.url]))
        assert (await waiting).status == 200


# -- balance --


async def test_two_stuck_streams_send_everything_else_to_the_other_replica() -> None:
    async with sim() as a, sim() as b, Front(Plan("chat", [a.url])) as front:
        a.set_faults(stall_after_tokens=2)
        stuck = [await Client.open(front.port) for _ in range(2)]
        for client in stuck:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await client.head()
        front.show(Plan("chat", [a.url, b.url]))
        for _ in range(10):
            assert (await ask(front.port, "POST", CHAT, chat())).status == 200
        assert [len(a.requests), len(b.requests)] == [2, 10]
        for client in stuck:
            client.writer.close()


async def test_equal_load_is_spread_within_a_tenth_over_replicas_and_workers() -> None:
    async with sim(engine=SLOW) as a, sim(engine=SLOW) as b, sim(engine=SLOW) as c:
        urls = [a.url, b.url, c.url]
        async with Front(Plan("chat", urls), workers=4) as front:
            for round_ in range(2):
                # Idle pool, one request at a time: ties must go round.
                for n in range(60):
                    await ask(
                        front.planes[n % 4].port, "POST", "/v1/sim/echo", {"model": "chat", "n": round_}
                    )
                await asyncio.gather(
                    *(ask(front.planes[n % 4].port, "POST", CHAT, chat(max_tokens=2)) for n in range(90))
                )
            counts = [front.dispatched(url) for url in urls]
            assert sum(counts) == 300
            assert all(90 <= count <= 110 for count in counts), counts


async def test_a_replica_of_twice_the_weight_gets_twice_the_load() -> None:
    async with sim() as a, sim() as b:
        a.set_faults(freeze=True)
        b.set_faults(freeze=True)
        async with Front(Plan("chat", [a.url, b.url], weights={a.url: 2.0})) as front:
            asks = [asyncio.create_task(ask(front.port, "POST", CHAT, chat())) for _ in range(30)]
            await until(lambda: len(a.requests) + len(b.requests) == 30)
            assert [front.outstanding(a.url), front.outstanding(b.url)] == [20, 10]
            a.clear_faults()
            b.clear_faults()
            await asyncio.gather(*asks)
