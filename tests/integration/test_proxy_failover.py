"""What happens before the first byte when a replica fails, is full, or says no."""

import asyncio

import pytest

from gateway.fleet.snapshot import Ejection, Limits, Retries, State, Timeouts
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan, Scripted, chat, scripted, sim, unused_url
from tests.integration.sim_client import Client, ask, encode, until

CHAT = "/v1/chat/completions"
SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def first(url: str, other: str, **more: object) -> Plan:
    """A pool whose idle requests all go to `url` first."""
    return Plan("chat", [url, other], weights={other: 0.001}, **more)  # type: ignore[arg-type]


# -- another replica --


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_connection_goes_to_the_next_replica_unseen(stream: bool) -> None:  # noqa: FBT001
    dead = unused_url()
    async with sim() as replica, Front(first(dead, replica.url)) as front:
        reply = await ask(front.port, "POST", CHAT, chat(stream=stream))
        assert (reply.status, reply.end) == (200, "complete")
        assert reply.header("x-served-by") == replica.url.removeprefix("http://")
        assert front.records[0].attempts == 2
        assert front.count(families.RETRIES, "connect") == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 503}, "status_503"),
        ({"status": 429, "retry_after": "3"}, "status_429"),
        ({"status": 502}, "status_502"),
        ({"drain": True}, "draining"),
        ({"reset_after_tokens": 0}, "reset"),
        ({"close_mid_chunk_after_tokens": 0}, "reset"),
        ({"truncate_after_tokens": 0}, "reset"),
        ({"error_event_after_tokens": 0}, "engine_error"),
        ({"garbage_status_line": True}, "reset"),
    ],
)
async def test_a_failure_that_answered_nothing_goes_to_the_next_replica_unseen(
    fault: dict[str, object], reason: str
) -> None:
    async with sim() as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        bad.set_faults(**fault)
        for _ in range(3):
            reply = await ask(front.port, "POST", CHAT, chat(stream=True))
            assert (reply.status, reply.end) == (200, "complete")
            assert b"error" not in reply.body
        assert front.count(families.RETRIES, reason) == 3
        assert [len(bad.requests), len(good.requests)] == [3, 3]


async def test_a_plain_answer_that_had_no_byte_yet_runs_again_elsewhere() -> None:
    async with sim() as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        bad.set_faults(reset_after_tokens=5)
        assert (await ask(front.port, "POST", CHAT, chat())).status == 200
        assert front.records[0].replica == good.url


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501, 504])
async def test_an_error_that_may_be_an_answer_is_passed_on_untouched_and_not_repeated(status: int) -> None:
    async with sim() as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        bad.set_faults(status=status)
        through = await ask(front.port, "POST", CHAT, chat())
        direct = await ask(bad.port, "POST", CHAT, chat())
        assert (through.status, through.body) == (status, direct.body)
        assert through.header("x-gateway-error") is None
        assert good.requests == []


async def test_an_error_of_the_model_s_own_is_passed_on_and_not_repeated() -> None:
    own = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 9\r\n\r\nmy prompt"
    async with scripted(own) as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.body) == (500, b"my prompt")
        assert good.requests == []


async def test_no_replica_is_asked_twice_and_the_last_one_s_own_words_are_passed_on() -> None:
    async with sim() as a, sim() as b, Front(Plan("chat", [a.url, b.url])) as front:
        a.set_faults(status=503, retry_after="7")
        b.set_faults(status=503, retry_after="7")
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.header("retry-after")) == (503, "7")
        assert reply.header("x-gateway-error") is None
        assert [len(a.requests), len(b.requests)] == [1, 1]
        assert front.count(families.SHED, "no_replica") == 0


async def test_the_only_replica_s_refusal_is_502_with_retry_after() -> None:
    async with Front(Plan("chat", [unused_url()])) as front:
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.header("x-gateway-error")) == (502, "connect_failed")
        assert "connection refused" in reply.json["error"]["message"]
        assert int(reply.header("retry-after") or 0) >= 1
        assert front.count(families.REQUESTS, "502") == 1
        assert front.count(families.SHED, "no_replica") == 0


async def test_a_host_that_does_not_exist_or_does_not_answer_is_502() -> None:
    for url in ("http://does-not-exist.invalid:80", "http://192.0.2.1:80"):
        async with Front(Plan("chat", [url], timeouts=Timeouts(connect_s=0.2))) as front:
            reply = await ask(front.port, "POST", CHAT, chat())
            assert (reply.status, reply.header("x-gateway-error")) == (502, "connect_failed")


async def test_attempts_are_limited() -> None:
    urls = [unused_url() for _ in range(6)]
    async with Front(Plan("chat", urls), retries=Retries(attempts=2)) as front:
        assert (await ask(front.port, "POST", CHAT, chat())).status == 502
        assert front.records[0].attempts == 3
        assert front.count(families.RETRIES, "connect") == 2


async def test_without_a_budget_nothing_is_repeated() -> None:
    retries = Retries(budget=0.0, min_concurrent=0)
    async with (
        sim() as bad,
        sim() as good,
        Front(first(bad.url, good.url), retries=retries, ejection=Ejection(consecutive_failures=2)) as front,
    ):
        bad.set_faults(status=503)
        good.set_faults(status=503)
        # A replica that is well takes it all the same; one that has just failed is spared.
        await ask(front.port, "POST", CHAT, chat())
        assert [len(bad.requests), len(good.requests)] == [1, 1]
        await ask(front.port, "POST", CHAT, chat())
        assert len(bad.requests) + len(good.requests) == 3


async def test_a_long_error_answer_is_not_held_back() -> None:
    body = b"x" * 300_000
    async with (
        scripted(b"HTTP/1.1 503 Busy\r\ncontent-length: 300000\r\n\r\n" + body) as bad,
        sim() as good,
        Front(first(bad.url, good.url)) as front,
    ):
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.body) == (503, body)
        assert good.requests == []


async def test_another_attempt_s_framing_is_its_own() -> None:
    """The first attempt was going to be chunked, the second has a length."""
    async with (
        scripted(STREAM_HEAD + b"0\r\n\r\n") as bad,
        scripted(OK) as good,
        Front(first(bad.url, good.url)) as front,
    ):
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.body, reply.header("transfer-encoding")) == (b"ok", None)


# -- kept connections --


async def test_a_kept_connection_that_died_under_a_request_is_retried_silently() -> None:
    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replica.request(reader)
        writer.write(OK)
        await replica.request(reader)  # and closes without a word, as uvicorn does when it closes at 5 s

    async with Scripted(script) as replica, Front(Plan("chat", [replica.url])) as front:
        for _ in range(5):
            reply = await ask(front.port, "POST", CHAT, chat())
            assert (reply.status, reply.body) == (200, b"ok")
        assert front.count(families.RETRIES, "stale_connection") == 4
        assert all(record.attempts == 1 for record in front.records)


async def test_connections_that_the_replica_closes_while_they_idle_cost_no_request() -> None:
    async with sim(keep_alive_s=0.05) as replica, Front(Plan("chat", [replica.url])) as front:
        for _ in range(6):
            assert (await ask(front.port, "POST", CHAT, chat())).status == 200
            await until(lambda: front.leftovers() == {}, 2.0)
        assert len(replica.requests) == 6


@pytest.mark.parametrize("beginning", [STREAM_HEAD, b"HTTP/1.1 200", b"nonsense\r\n\r\n"])
async def test_a_kept_connection_on_which_an_answer_began_was_not_stale(beginning: bytes) -> None:
    """The replica took the request: asking the same one again may run it twice, and kill it twice."""

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replica.request(reader)
        writer.write(OK)
        await replica.request(reader)
        writer.write(beginning)
        await writer.drain()

    async with Scripted(script) as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        assert (await ask(front.port, "POST", CHAT, chat())).body == b"ok"
        assert (await ask(front.port, "POST", CHAT, chat(stream=True))).status == 200
        assert front.records[1].replica == good.url
        assert len(bad.requests) == 2
        assert front.count(families.RETRIES, "stale_connection") == 0


async def test_a_slow_client_leaves_no_connection_behind_that_nobody_reads() -> None:
    """It stops reading with the answer's last piece: the connection must not stay paused for the next."""
    size = 4_000_000
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        body = {"model": "chat", "pad": "x" * size}
        async with await Client.open(front.port) as client:
            for _ in range(5):
                client.send(encode("POST", "/v1/sim/echo", body))
                await until(lambda: front.planes[0].gateway.running == 1)
                assert len((await client.reply()).body) > size
                assert (await ask(front.port, "POST", CHAT, chat())).status == 200


# -- broken replicas --


async def test_headers_without_an_end_are_given_up_and_the_next_replica_asked() -> None:
    async with sim() as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        bad.set_faults(endless_headers=True)
        assert (await ask(front.port, "POST", CHAT, chat())).status == 200
        assert front.records[0].replica == good.url


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 999 Weird\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 Weird\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 99 Weird\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01",
        b"",
    ],
)
async def test_an_answer_that_is_no_http_is_no_answer(answer: bytes) -> None:
    async with scripted(answer) as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        assert (await ask(front.port, "POST", CHAT, chat())).status == 200
        assert front.records[0].replica == good.url
        front.show(Plan("chat", [bad.url]))
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.header("x-gateway-error")) == (502, "replica_failed")


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with scripted(interim + OK) as replica, Front(Plan("chat", [replica.url])) as front:
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.body, reply.header("link")) == (200, b"ok", None)


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"junk", b"HTTP/1.1 2"]
)
async def test_bytes_behind_an_answer_are_never_the_next_answer(surplus: bytes) -> None:
    async with scripted(OK + surplus, hold=True) as replica, Front(Plan("chat", [replica.url])) as front:
        for _ in range(3):
            assert (await ask(front.port, "POST", CHAT, chat())).body == b"ok"
        assert replica.connections == 3


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_keeps_the_connections_in_step(status: int) -> None:
    empty = b"HTTP/1.1 %d Nothing\r\n\r\n" % status
    async with (
        scripted(empty, empty, OK) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        for wanted in (status, status, 200):
            assert (await client.ask("POST", CHAT, chat())).status == wanted


async def test_a_body_that_ends_with_the_connection_arrives_in_chunks() -> None:
    async with (
        scripted(b"HTTP/1.0 200 OK\r\n\r\nuntil the end") as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        for _ in range(2):
            reply = await client.ask("POST", CHAT, chat())
            assert (reply.body, reply.end) == (b"until the end", "complete")


async def test_a_replica_that_closes_after_each_answer_is_connected_to_again() -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with scripted(closing) as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            for _ in range(3):
                reply = await client.ask("POST", CHAT, chat())
                assert (reply.body, reply.header("connection")) == (b"ok", None)
        assert front.count(families.RETRIES, "stale_connection") == 0


# -- silence --


async def test_silence_before_the_first_byte_is_504_at_the_limit_and_lets_the_replica_go() -> None:
    async with sim() as replica, sim() as other:
        replica.set_faults(freeze=True)
        timeouts = Timeouts(first_byte_s=0.3)
        async with Front(first(replica.url, other.url, timeouts=timeouts)) as front:
            for stream in (True, False):
                reply = await ask(front.port, "POST", CHAT, chat(stream=stream))
                assert (reply.status, reply.header("x-gateway-error")) == (504, "first_byte_timeout")
            await until(lambda: replica.state.aborted == 2, 1.0)
            # Its engine may have worked on the prompt all the time: it is not asked of another one as well.
            assert other.requests == []


# -- passive health --


async def test_a_replica_that_fails_fast_gets_less_than_its_share() -> None:
    async with sim(engine=SLOW) as good, sim(engine=SLOW) as also, sim() as bad:
        bad.set_faults(status=503)
        plan = Plan("chat", [good.url, also.url, bad.url])
        async with Front(plan, ejection=Ejection(), workers=2) as front:
            ports = [plane.port for plane in front.planes]
            for _ in range(6):
                replies = await asyncio.gather(
                    *(ask(ports[n % 2], "POST", CHAT, chat(max_tokens=3)) for n in range(10))
                )
                assert [reply.status for reply in replies] == [200] * 10
            assert front.dispatched(bad.url) < 60 / 3 / 2


async def test_five_failures_in_a_row_eject_a_replica_for_all_workers_and_panic_still_asks() -> None:
    own = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno"
    ejection = Ejection(consecutive_failures=5, penalty_s=0)
    async with (
        sim() as good,
        scripted(own) as bad,
        Front(Plan("chat", [good.url, bad.url]), ejection=ejection, workers=2) as front,
    ):
        asks = [(plane.port, "POST", CHAT, chat()) for _ in range(10) for plane in front.planes]
        assert [(await ask(*request)).status for request in asks].count(500) == 5
        # With the good one gone from the pool, everybody looks ill: then everybody is asked.
        front.show(Plan("chat", [bad.url]))
        assert (await ask(front.port, "POST", CHAT, chat())).status == 500
        assert len(bad.requests) == 6


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
