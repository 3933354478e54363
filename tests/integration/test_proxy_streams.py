"""Streams and answers on their way through, byte for byte."""

import asyncio
import re

import pytest

from gateway.proxy.settings import Settings
from gateway.sim import EngineLimits
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import Scripted, Tap, chat, completion, scripted, sim

CHAT = "/v1/chat/completions"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def bodies(answered: bytearray) -> list[bytes]:
    """The bodies of the chunked answers in what a replica sent."""
    found = []
    for message in re.split(rb"(?=HTTP/1\.1 200 OK\r\n)", bytes(answered))[1:]:
        rest, body = message.partition(b"\r\n\r\n")[2], b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        found.append(body)
    return found


# -- byte for byte --


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(stream=True, max_tokens=50, stream_options={"include_usage": True})),
        ("/v1/completions", completion(stream=True, max_tokens=50, logprobs=2, return_token_ids=True)),
        ("/v1/responses", {"model": "chat", "input": "hi", "stream": True}),
        ("/v1/messages", chat(stream=True, max_tokens=20)),
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 7])
async def test_a_stream_arrives_byte_for_byte(path: str, body: dict[str, object], piece_bytes: int) -> None:
    async with sim(emoji=True) as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        replica.set_faults(piece_bytes=piece_bytes)
        reply = await ask(front.port, "POST", path, body)
        assert (reply.status, reply.end) == (200, "complete")
        assert [reply.body] == bodies(tap.answered)
        assert front.records[0].outcome == "complete"
        assert front.records[0].stream


async def test_a_plain_answer_arrives_byte_for_byte_with_its_length() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        reply = await ask(front.port, "POST", CHAT, chat(max_tokens=200))
        assert tap.answered.endswith(b"\r\n\r\n" + reply.body)
        assert reply.header("content-length") == str(len(reply.body))
        assert reply.header("transfer-encoding") is None


async def test_each_event_leaves_as_soon_as_it_is_whole() -> None:
    events = [*(b"data: %d\n\n" % n for n in range(5)), DONE]
    gates = [asyncio.Event() for _ in events]

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replica.request(reader)
        writer.write(STREAM_HEAD)
        for event, gate in zip(events, gates, strict=True):
            await gate.wait()
            writer.write(chunk(event))
        await reader.read()

    async with (
        Scripted(script) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", CHAT, chat(stream=True)))
        for event, gate in zip(events, gates, strict=True):
            # The next one is sent only when this one has arrived: nothing is held back to be coalesced.
            gate.set()
            if event is events[0]:
                await client.head()
            assert await client.chunk() == event


async def test_the_head_is_held_back_until_the_first_byte_of_the_body() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        replica.set_faults(freeze=True)
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await until(lambda: b"text/event-stream" in tap.answered)
            assert front.records == []
            assert not client.reader._buffer  # type: ignore[attr-defined]  # the client has nothing
            replica.clear_faults()
            assert (await client.reply()).end == "complete"


async def test_keep_alive_comments_of_a_queued_stream_pass_through() -> None:
    beats = b": keep-alive\n\n"
    async with (
        scripted(STREAM_HEAD + chunk(beats) + chunk(beats) + chunk(DONE) + b"0\r\n\r\n") as replica,
        Front(Plan("chat", [replica.url])) as front,
    ):
        assert (await ask(front.port, "POST", CHAT, chat(stream=True))).body == beats + beats + DONE


async def test_an_event_longer_than_the_limit_passes_in_pieces() -> None:
    event = b"data: " + b"x" * 3_000_000 + b"\n\n"
    async with (
        scripted(STREAM_HEAD + chunk(event) + chunk(DONE) + b"0\r\n\r\n") as replica,
        Front(Plan("chat", [replica.url])) as front,
    ):
        assert (await ask(front.port, "POST", CHAT, chat(stream=True))).body == event + DONE


async def test_a_connection_carries_one_answer_after_another() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            for n in range(20):
                reply = await client.ask("POST", CHAT, chat(stream=bool(n % 2)))
                assert (reply.status, reply.end) == (200, "complete")
        assert front.leftovers() == {f"connections to {replica.url}": 1, "clients": 1}


# -- HTTP/1.0 --


async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", CHAT, chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head = await client.head()
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert (await client.rest()).endswith(DONE)


async def test_ten_streams_at_once_on_two_workers_do_not_mix() -> None:
    async with sim(engine=SLOW) as replica, Front(Plan("chat", [replica.url]), workers=2) as front:
        asks = [
            ask(
                front.planes[n % 2].port,
                "POST",
                CHAT,
                chat(f"text {n}", stream=True, max_tokens=10),
                x_request_id=f"id-{n}",
            )
            for n in range(10)
        ]
        for n, reply in enumerate(await asyncio.gather(*asks)):
            assert set(re.findall(rb'"id":"([^"]*)"', reply.body)) == {b"chatcmpl-id-%d" % n}
            assert reply.end == "complete"


async def test_two_gateways_in_one_process_know_nothing_of_each_other() -> None:
    async with (
        sim("a") as a,
        sim("b") as b,
        Front(Plan("a", [a.url])) as one,
        Front(Plan("b", [b.url])) as other,
    ):
        assert (await ask(one.port, "POST", CHAT, chat(model="b"))).status == 404
        assert (await ask(other.port, "POST", CHAT, chat(model="b"))).status == 200
        assert (await ask(one.port, "POST", CHAT, chat(model="a"))).status == 200
        assert [len(one.records), len(other.records)] == [2, 1]
        assert [one.dispatched(a.url), other.dispatched(b.url)] == [1, 1]


async def test_what_still_runs_when_the_gateway_ends_gets_an_error_event() -> None:
    settings = Settings()
    async with sim() as replica:
        replica.set_faults(stall_after_tokens=2)
        async with Front(Plan("chat", [replica.url]), settings=settings) as front:
            client = await Client.open(front.port)
            client.send(encode("POST", CHAT, chat(stream=True)))
            await until(lambda: replica.running == 1)
            await client.head()
        assert b'"ServiceUnavailableError"' in await client.rest()
        client.writer.close()
