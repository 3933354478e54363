"""Reading a body: its limit, its deadline, and what its head says about it."""

import asyncio
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from gateway.proxy.body import Body, whole_body
from gateway.proxy.client import ClientConnection
from gateway.proxy.errors import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    ClientGone,
    ExpectationFailed,
    UnsupportedBody,
)
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.settings import Settings


class FakeConnection:
    """As much of a client's connection as a body needs."""

    def __init__(self) -> None:
        self.sent = b""
        self.transport: object | None = object()

    def write(self, data: bytes) -> None:
        self.sent += data


class Sent:
    """A body of which a test sends one piece after another."""

    def __init__(self, headers: dict[str, str] | None = None, **settings: Any) -> None:
        self.client = FakeConnection()
        protocol = BaseProtocol(asyncio.get_running_loop())
        protocol.connection_made(asyncio.Transport())
        self.content = StreamReader(protocol, 1 << 16)
        client = cast("ClientConnection", self.client)
        limits = Settings(**{"body_timeout_s": 5.0, **settings})
        self.body = Body(self.content, client, limits)
        self._limit_bytes = limits.body_limit_bytes
        self._headers = RequestHeaders(
            (name.encode(), value.encode()) for name, value in (headers or {}).items()
        )

    def at_once(self) -> bytes | None:
        return whole_body(self._headers, self.content, self._limit_bytes)

    def accept(self) -> None:
        self.body.accept(self._headers, may_wait=True)


async def test_a_body_that_is_there_is_read_at_once() -> None:
    sent = Sent()
    sent.content.feed_data(b"abc")
    assert sent.at_once() is None
    sent.content.feed_eof()
    assert sent.at_once() == b"abc"


async def test_a_body_in_several_reads_or_none_at_all_is_whole_once_it_has_ended() -> None:
    pieces, nothing = Sent(), Sent()
    for piece in (b"a", b"b"):
        pieces.content.feed_data(piece)
    for sent in (pieces, nothing):
        sent.content.feed_eof()
    assert (pieces.at_once(), nothing.at_once()) == (b"ab", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"expect": "100-continue"},
        {"content-type": "Multipart/form-data; boundary=x"},
    ],
)
async def test_a_body_that_needs_care_is_not_taken_at_once(headers: dict[str, str]) -> None:
    sent = Sent(headers)
    sent.content.feed_data(b"abc")
    sent.content.feed_eof()
    assert sent.at_once() is None


async def test_a_body_that_comes_in_pieces_is_put_together() -> None:
    sent = Sent()
    reading = asyncio.create_task(sent.body.read())
    for piece in (b"a", b"b", b"c"):
        await asyncio.sleep(0)
        sent.content.feed_data(piece)
    sent.content.feed_eof()
    assert await reading == b"abc"


async def test_one_byte_more_than_the_limit_is_too_large() -> None:
    for size, fits in ((8, True), (9, False)):
        at_once, later = Sent(body_limit_bytes=8), Sent(body_limit_bytes=8)
        for sent in (at_once, later):
            sent.content.feed_data(b"x" * size)
        at_once.content.feed_eof()
        asyncio.get_running_loop().call_soon(later.content.feed_eof)
        if fits:
            assert at_once.at_once() == await later.body.read() == b"x" * size
            continue
        with pytest.raises(BodyTooLarge, match="8 bytes"):
            at_once.at_once()
        with pytest.raises(BodyTooLarge, match="8 bytes"):
            await later.body.read()


async def test_a_declared_length_above_the_limit_is_refused_before_anything_is_read() -> None:
    fits, too_large = (
        Sent({"content-length": "8"}, body_limit_bytes=8),
        Sent({"content-length": "9"}, body_limit_bytes=8),
    )
    fits.accept()
    assert fits.body.length == 8
    with pytest.raises(BodyTooLarge):
        too_large.accept()


async def test_a_body_that_stops_coming_is_given_up_at_the_deadline() -> None:
    sent = Sent(body_timeout_s=0.01)
    sent.content.feed_data(b"a")
    with pytest.raises(BodyTimeout):
        await sent.body.read()


async def test_a_body_that_drips_is_given_up_at_the_deadline_as_well() -> None:
    sent = Sent(body_timeout_s=0.1)

    async def drip() -> None:
        for _ in range(40):
            sent.content.feed_data(b"a")
            await asyncio.sleep(0.02)
        sent.content.feed_eof()

    dripping = asyncio.create_task(drip())
    with pytest.raises(BodyTimeout):
        await sent.body.read()
    dripping.cancel()


async def test_the_deadline_holds_when_another_task_reads_on() -> None:
    sent = Sent(body_timeout_s=0.05)
    sent.content.feed_data(b"a")
    pieces = sent.body.pieces()
    assert await anext(pieces) == b"a"

    async def rest() -> bytes:
        return b"".join([piece async for piece in pieces])

    reading = asyncio.create_task(rest())
    await asyncio.wait((reading,))  # not cancelled: the deadline is that of whoever reads
    assert isinstance(reading.exception(), BodyTimeout)


async def test_time_that_a_slow_replica_takes_is_not_the_client_s() -> None:
    sent = Sent(body_timeout_s=0.05)
    sent.content.feed_data(b"a")
    pieces = sent.body.pieces()
    await anext(pieces)
    await asyncio.sleep(0.1)  # the replica takes no more for a while
    asyncio.get_running_loop().call_soon(sent.content.feed_data, b"b")
    assert await anext(pieces) == b"b"


@pytest.mark.parametrize("error", [ConnectionResetError(), web.RequestPayloadError()])
async def test_a_client_that_leaves_in_the_middle_is_gone(error: Exception) -> None:
    sent = Sent()
    reading = asyncio.create_task(sent.body.read())
    await asyncio.sleep(0)
    sent.client.transport = None
    sent.content.set_exception(error)
    with pytest.raises(ClientGone):
        await reading


async def test_wrong_chunks_are_a_bad_request() -> None:
    sent = Sent()
    sent.content.set_exception(web.RequestPayloadError())
    with pytest.raises(BadRequest):
        await sent.body.read()


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip", "br", "x" * 100])
async def test_a_compressed_body_is_not_supported(encoding: str) -> None:
    with pytest.raises(UnsupportedBody) as refusal:
        Sent({"content-encoding": encoding}).accept()
    assert len(refusal.value.message) < 120


async def test_a_client_that_waits_is_told_to_go_on() -> None:
    sent = Sent({"expect": "100-Continue", "content-encoding": "Identity"})
    sent.accept()
    assert sent.client.sent == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_any_other_expectation_fails() -> None:
    sent = Sent({"expect": "200-ok"})
    with pytest.raises(ExpectationFailed):
        sent.accept()
    assert sent.client.sent == b""
