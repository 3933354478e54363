"""What happens before the first byte when a replica fails, is full, or says no."""

import asyncio

import pytest

from gateway.fleet.ejection import Marks
from gateway.fleet.snapshot import Ejection, Retries, Timeouts
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import Scripted, chat, scripted, sim, unused_url

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


async def test_an_answer_of_nothing_is_asked_for_elsewhere() -> None:
    """As a decoder that failed behind a server that did not notice has answered."""
    nothing = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n"
    async with scripted(nothing) as bad, sim() as good, Front(first(bad.url, good.url)) as front:
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, bool(reply.text)) == (200, True)
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


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 501])
async def test_what_says_nothing_of_a_replica_s_health_is_never_held_against_it(status: int) -> None:
    """Circuit breakers that counted clients' mistakes have opened on every replica at once."""
    async with sim() as replica, Front(Plan("chat", [replica.url]), ejection=Ejection()) as front:
        replica.set_faults(status=status)
        for _ in range(10):
            assert (await ask(front.port, "POST", CHAT, chat())).status == status
        assert front.board.marks(0) == Marks()


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


async def test_a_replica_that_lost_its_adapter_is_passed_over_and_not_blamed() -> None:
    async with sim() as lost, sim(adapters={"sql": "/adapters/sql"}) as has:
        plan = first(lost.url, has.url, adapters={"sql": [lost.url, has.url]})
        async with Front(plan) as front:
            for _ in range(3):
                reply = await ask(front.port, "POST", CHAT, chat(model="sql"))
                assert (reply.status, reply.end) == (200, "complete")
            assert front.count(families.RETRIES, "adapter_lost") == 3
            assert front.board.marks(0).consecutive_failures == 0


async def test_an_adapter_that_all_have_lost_is_the_replica_s_own_404() -> None:
    async with sim() as one, sim() as other:
        plan = first(one.url, other.url, adapters={"sql": [one.url, other.url]})
        async with Front(plan) as front:
            reply = await ask(front.port, "POST", CHAT, chat(model="sql"))
    assert reply.status == 404
    assert reply.json["error"]["type"] == "NotFoundError"
    assert reply.header("x-gateway-error") is None
