"""HTTP itself: framing, odd clients, limits."""

import asyncio
import gzip
import json

import pytest

from gateway.proxy.settings import Settings
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import Tap, chat, sim

CHAT = "/v1/chat/completions"
BODY = json.dumps(chat()).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
CHUNKS = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    10,
    BODY[:10],
    len(BODY) - 10,
    BODY[10:],
)


# -- bodies --


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        for _ in range(2):
            request = encode("POST", CHAT, chat(), headers={"expect": "100-continue"})
            head, _, body = request.partition(b"\r\n\r\n")
            client.send(head + b"\r\n\r\n")
            assert await client.head() == b"HTTP/1.1 100 Continue"
            client.send(body)
            assert (await client.reply()).status == 200
        assert all("expect" not in dict(request.headers) for request in replica.requests)


async def test_any_other_expectation_is_417() -> None:
    async with Front(Plan("chat", [])) as front:
        reply = await ask(front.port, "POST", CHAT, chat(), expect="the-unexpected")
        assert (reply.status, reply.header("x-gateway-error")) == (417, "expectation_failed")


async def test_a_refused_request_is_not_invited_to_send_its_body() -> None:
    async with Front(Plan("chat", [])) as front, await Client.open(front.port) as client:
        client.send(HEAD + b"expect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n")
        assert (await client.reply()).status == 413


async def test_a_chunked_body_arrives_whole_with_its_length() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        async with await Client.open(front.port) as client:
            for piece in (HEAD[:30], HEAD[30:] + CHUNKS[:50], CHUNKS[50:90], CHUNKS[90:]):
                client.send(piece)
                await asyncio.sleep(0)
            assert (await client.reply()).status == 200
        head, _, body = bytes(tap.sent).partition(b"\r\n\r\n")
        assert body == BODY
        assert b"\r\ncontent-length: %d" % len(BODY) in head
        assert b"transfer-encoding" not in head


@pytest.mark.parametrize("limit", [1 << 20, 20 << 20])
async def test_a_body_up_to_the_limit_passes_and_one_byte_more_is_413(limit: int) -> None:
    settings = Settings(body_limit_bytes=limit)
    async with sim() as replica, Front(Plan("chat", [replica.url]), settings=settings) as front:
        body = b'{"model":"chat","image":"' + b"A" * (limit - 27) + b'"}'
        assert len(body) == limit
        reply = await ask(front.port, "POST", "/v1/sim/echo", body)
        assert (reply.status, len(reply.body)) == (200, limit)
        for request in (
            encode("POST", "/v1/sim/echo", body + b" "),
            encode("POST", "/v1/sim/echo", b"", headers={"transfer-encoding": "chunked"}).replace(
                b"content-length: 0\r\n", b""
            )
            + b"%x\r\n%b \r\n0\r\n\r\n" % (limit + 1, body),
        ):
            async with await Client.open(front.port) as client:
                client.send(request)
                reply = await client.reply()
                assert (reply.status, reply.json["error"]["code"]) == (413, 413)
        assert len(replica.requests) == 1


async def test_a_compressed_body_is_415() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        reply = await ask(front.port, "POST", CHAT, gzip.compress(BODY), content_encoding="gzip")
        assert (reply.status, reply.header("x-gateway-error")) == (415, "unsupported_body")
        assert replica.requests == []


async def test_slow_bodies_are_closed_at_the_deadline_and_disturb_nobody() -> None:
    settings = Settings(body_timeout_s=0.5)
    async with sim() as replica, Front(Plan("chat", [replica.url]), settings=settings) as front:
        slow = [await Client.open(front.port) for _ in range(300)]
        for client in slow:
            client.send(encode("POST", CHAT, chat())[:-3])
        await until(lambda: front.planes[0].gateway.running == len(slow))
        for _ in range(20):
            assert (await ask(front.port, "POST", CHAT, chat())).status == 200
        for client in slow:
            reply = await client.reply()
            assert (reply.status, reply.header("x-gateway-error")) == (408, "body_timeout")
        for client in slow:
            client.writer.close()
        await until(lambda: len(front.records) == 320)


async def test_chunks_that_are_none_are_refused_and_nothing_is_sent_on() -> None:
    settings = Settings(body_timeout_s=0.3)
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url]), settings=settings) as front,
        await Client.open(front.port) as client,
    ):
        client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello")
        await until(lambda: front.planes[0].gateway.running == 1)
        client.send(b"!!!")
        # aiohttp's parser does not tell who reads the body that its next chunk is wrong: the deadline does.
        assert (await client.reply()).status in {400, 408}
        assert await client.rest() == b""
        assert replica.requests == []


# -- connections --


async def test_requests_sent_one_behind_the_other_are_answered_in_their_order() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        bodies = [{"model": "chat", "n": n} for n in range(100)]
        client.send(b"".join(encode("POST", "/v1/sim/echo", body) for body in bodies))
        assert [(await client.reply()).json for _ in bodies] == bodies


async def test_a_connection_goes_on_after_an_error_whose_body_was_read() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        for path, body, status in (
            (CHAT, chat(model="nope"), 404),
            ("/nope", chat(), 404),
            (CHAT, b"{", 400),
            (CHAT, chat(temperature=-1), 400),
            (CHAT, chat(), 200),
        ):
            reply = await client.ask("POST", path, body)
            assert (reply.status, reply.header("connection")) == (status, None)


async def test_a_client_that_asks_for_it_gets_its_connection_closed() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        assert (await client.ask("POST", CHAT, chat(), connection="close")).status == 200
        assert await client.rest() == b""


@pytest.mark.parametrize("keep", [True, False])
async def test_an_http_1_0_request_needs_no_host_and_its_connection_ends(keep: bool) -> None:  # noqa: FBT001
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        connection = b"connection: keep-alive\r\n" if keep else b""
        client.send(
            b"POST /v1/sim/echo HTTP/1.0\r\n%bcontent-length: %d\r\n\r\n%b" % (connection, len(BODY), BODY)
        )
        reply = await client.reply()
        assert (reply.status, reply.header("connection")) == (200, "close")
        assert await client.rest() == b""


async def test_an_http_1_0_client_is_never_told_to_continue() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(
            encode("POST", CHAT, chat(), headers={"expect": "100-continue"}).replace(b"HTTP/1.1", b"HTTP/1.0")
        )
        assert (await client.reply()).status == 200


async def test_a_request_without_host_is_400() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY))
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["type"]) == (400, "BadRequestError")
        assert replica.requests == []


async def test_a_websocket_request_is_refused_and_its_bytes_are_no_requests() -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-key": "x" * 16}
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("GET", "/v1/realtime", headers=headers))
            assert (await client.reply()).status == 404
        for wanted in (headers, headers | {"upgrade": "h2c"}):
            async with await Client.open(front.port) as client:
                client.send(encode("POST", CHAT, chat(), headers=wanted))
                assert (await client.reply()).status in {200, 400}
        assert len(replica.requests) <= 2
        assert all(
            request.body_sha256 and "upgrade" not in dict(request.headers) for request in replica.requests
        )
