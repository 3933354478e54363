"""Replicas that speak no HTTP, say nothing, or fail one request after the other."""

import asyncio

import pytest

from gateway.fleet.snapshot import Ejection, Timeouts
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, until
from tests.integration.stand_ins import chat, scripted, sim

CHAT = "/v1/chat/completions"
SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def first(url: str, other: str, **more: object) -> Plan:
    """A pool whose idle requests all go to `url` first."""
    return Plan("chat", [url, other], weights={other: 0.001}, **more)  # type: ignore[arg-type]


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
