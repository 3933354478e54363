"""What is no HTTP, or not quite, or too much of it."""

import asyncio
import json
import logging

import pytest

from gateway.proxy.settings import Settings
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask
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


# -- what is no HTTP --


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: h\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\nx: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400_in_one_log_line_and_a_closed_connection(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Front(Plan("chat", [])) as front, await Client.open(front.port) as client:
        client.send(garbage)
        reply = await client.reply()
        assert (reply.status, reply.header("x-gateway-error")) == (400, "bad_request")
        assert await client.rest() == b""
    lines = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert len(lines) == 1
    assert lines[0].exc_info is None
    assert "\n" not in lines[0].getMessage()


@pytest.mark.parametrize(
    "header",
    [b"x: " + b"a" * 40_000, b"\r\n".join(b"x-%d: 1" % n for n in range(200)), b"a" * 40_000 + b": 1"],
)
async def test_headers_above_the_limits_are_400(header: bytes) -> None:
    async with Front(Plan("chat", [])) as front, await Client.open(front.port) as client:
        client.send(b"GET /health HTTP/1.1\r\nhost: h\r\n" + header + b"\r\n\r\n")
        assert (await client.reply()).status == 400
        assert await client.rest() == b""
        # Headers of an ordinary size below the limits, such as long cookies, are none of these.
        assert (await ask(front.port, "GET", "/health", x="a" * 30_000)).status == 200


async def test_a_target_above_the_limit_is_400() -> None:
    async with Front(Plan("chat", [])) as front:
        assert (await ask(front.port, "GET", "/health?" + "a" * 40_000)).status == 400


@pytest.mark.parametrize(
    "target", ["/v1/models/\xff", "/v1/models/%FF", "/v1/models/caf\xe9\u20ac", "/\xff", "//x/y"]
)
async def test_a_target_that_is_no_text_is_answered_like_any_other(target: str) -> None:
    async with Front(Plan("chat", [])) as front:
        assert (await ask(front.port, "GET", target)).status in {400, 404}


async def test_a_query_that_is_not_ascii_reaches_the_replica_as_it_is_or_not_at_all() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        reply = await ask(front.port, "POST", "/v1/sim/echo?q=\u20ac", {"model": "chat"})
        if reply.status == 200:
            assert tap.sent.startswith("POST /v1/sim/echo?q=\u20ac HTTP/1.1\r\n".encode())
        else:
            assert (reply.status, bytes(tap.sent)) == (400, b"")


@pytest.mark.parametrize(
    "request_line", [b"OPTIONS * HTTP/1.1", b"CONNECT h:80 HTTP/1.1", b"TRACE /health HTTP/1.1"]
)
async def test_methods_that_are_not_served_are_refused(request_line: bytes) -> None:
    async with Front(Plan("chat", [])) as front, await Client.open(front.port) as client:
        client.send(request_line + b"\r\nhost: h\r\n\r\n")
        assert (await client.reply()).status in {400, 404, 405}


async def test_a_request_to_another_host_s_url_is_not_relayed_there() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(
            HEAD.replace(b"POST ", b"POST http://elsewhere")
            + b"content-length: %d\r\n\r\n" % len(BODY)
            + BODY
        )
        assert (await client.reply()).status == 404
        assert replica.requests == []


async def test_a_bug_in_a_handler_costs_one_request_and_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(front.planes[0].gateway._intake, "take", bug)
            reply = await client.ask("POST", CHAT, chat())
            assert (reply.status, reply.json["error"]["message"]) == (
                500,
                "The gateway failed on this request.",
            )
            assert "a bug" in caplog.text
        assert (await client.ask("POST", CHAT, chat())).status == 200


async def test_connections_that_say_nothing_are_closed_after_the_keep_alive_time() -> None:
    settings = Settings(keepalive_s=0.2)
    async with Front(Plan("chat", []), settings=settings) as front:
        silent, partial = await Client.open(front.port), await Client.open(front.port)
        partial.send(b"GET /health HTTP/1.1\r\nhost:")
        assert await silent.rest() == b""
        assert (await partial.rest()).startswith(b"HTTP/1.1 408 ")
        for client in (silent, partial):
            client.writer.close()


async def test_a_head_has_its_own_time_limit_and_slow_bytes_do_not_extend_it() -> None:
    settings = Settings(header_timeout_s=0.3)
    async with Front(Plan("chat", []), settings=settings) as front, await Client.open(front.port) as client:
        assert (await client.ask("GET", "/v1/models")).status == 200
        client.send(b"GET /health HTTP/1.1\r\nx-slow: ")
        answer = asyncio.create_task(client.rest())
        while not answer.done() and not client.writer.is_closing():
            client.send(b"1")
            await asyncio.sleep(0.01)
        rest = await answer
    assert rest.startswith(b"HTTP/1.1 408 ")
    assert b"x-gateway-error: header_timeout" in rest
