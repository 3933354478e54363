"""Files that go through while they arrive."""

import asyncio

import pytest

from gateway.proxy.settings import Settings
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, Reply, encode, until
from tests.integration.stand_ins import Scripted, Tap, scripted, sim, unused_url

PATH = "/v1/audio/transcriptions"
TYPE = {"content-type": "multipart/form-data; boundary=xyz"}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def part(disposition: str, content: bytes) -> bytes:
    return (
        b"--xyz\r\ncontent-disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    )


def form(file: bytes, model: str | None = "chat", *, model_first: bool = True) -> bytes:
    parts = [] if model is None else [part('name="model"', model.encode())]
    parts.insert(len(parts) if model_first else 0, part('name="file"; filename="a.wav"', file))
    return b"".join(parts) + b"--xyz--\r\n"


async def upload(port: int, body: bytes, **headers: str) -> Reply:
    async with await Client.open(port) as client:
        client.send(encode("POST", PATH, body, headers=TYPE | headers))
        return await client.reply()


def chunked(body: bytes, size: int = 60_000) -> bytes:
    """A request with the body in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = encode("POST", PATH, b"", headers=TYPE | {"transfer-encoding": "chunked"})
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return head.replace(b"content-length: 0\r\n", b"") + framed


@pytest.mark.parametrize("size", [100, 5_000_000])
@pytest.mark.parametrize("model_first", [True, False])
async def test_a_file_arrives_as_it_was_sent_wherever_the_model_stands(size: int, model_first: bool) -> None:  # noqa: FBT001
    body = form(b"\0" * size, model_first=model_first)
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        reply = await upload(front.port, body)
        assert reply.json["text"] == f"a.wav: {size} bytes"
        assert bytes(tap.sent).partition(b"\r\n\r\n")[2] == body
        assert b"\r\ncontent-length: %d\r\n" % len(body) in tap.sent
        assert front.records[0].request_bytes == len(body)


@pytest.mark.parametrize("model_first", [True, False])
async def test_a_file_in_chunks_arrives_in_chunks(model_first: bool) -> None:  # noqa: FBT001
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        for _ in range(2):
            client.send(chunked(form(b"\1" * 1_000_000, model_first=model_first)))
            assert (await client.reply()).json["text"] == "a.wav: 1000000 bytes"


async def test_an_alias_is_spliced_into_the_form_and_the_length_follows() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url], aliases=["whisper-1"])) as front:
        reply = await upload(front.port, form(b"\0" * 200_000, "whisper-1"))
        assert reply.json["text"] == "a.wav: 200000 bytes"
        assert replica.requests[0].model == "chat"


async def test_the_beginning_is_sent_on_before_the_end_has_come() -> None:
    body = form(b"\0" * 100_000)
    async with (
        sim() as replica,
        Tap(replica.port) as tap,
        Front(Plan("chat", [tap.url])) as front,
        await Client.open(front.port) as client,
    ):
        request = encode("POST", PATH, body, headers=TYPE)
        client.send(request[:50_000])
        await until(lambda: len(tap.sent) > 40_000)
        client.send(request[50_000:])
        assert (await client.reply()).status == 200


async def test_a_slow_replica_slows_the_client_and_the_gateway_holds_almost_nothing() -> None:
    go_on = asyncio.Event()

    async def script(_: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go_on.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while length:
            length -= len(await reader.read(1 << 20))
        writer.write(OK)

    body = form(b"\0" * (60 << 20))
    async with (
        Scripted(script) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", PATH, body, headers=TYPE))
        before = -1
        while (left := client.writer.transport.get_write_buffer_size()) != before:
            before = left
            await asyncio.sleep(0.1)
        assert left > 40 << 20  # most of it has not left the client
        go_on.set()
        assert (await client.reply()).status == 200


async def test_a_form_without_a_model_goes_to_the_only_pool_and_to_nobody_where_there_are_two() -> None:
    body = form(b"\0" * 100_000, None)
    async with sim() as a, sim("code") as b, Front(Plan("chat", [a.url])) as front:
        assert (await upload(front.port, body)).status == 200
        front.show(Plan("chat", [a.url]), Plan("code", [b.url]))
        assert (await upload(front.port, body)).status == 400


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (form(b"x" * 100_000, "nope"), {}, 404),
        (form(b"x"), {"content-type": "multipart/form-data"}, 400),
        (b"--xyz\r\n" + b"x" * 100_000, {}, 400),
        (part('name="model"', b"x" * 100_000), {}, 400),
        (b"no form at all", {}, 200),
    ],
)
async def test_forms_that_can_not_be_routed_are_refused(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    async with scripted(OK) as replica, Front(Plan("chat", [replica.url])) as front:
        assert (await upload(front.port, body, **headers)).status == status
        assert replica.connections == (status == 200)


async def test_a_file_above_the_limit_is_413_also_when_it_comes_in_chunks() -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url]), settings=Settings(body_limit_bytes=100_000)) as front,
    ):
        assert (await upload(front.port, form(b"\0" * 100_000))).status == 413
        async with await Client.open(front.port) as client:
            client.send(chunked(form(b"\0" * 300_000)))
            assert (await client.reply()).status == 413
        await until(lambda: not replica.state.answers)
        assert replica.requests == []


async def test_a_file_that_stops_coming_is_given_up_at_the_deadline_and_the_replica_is_let_go() -> None:
    settings = Settings(body_timeout_s=0.3)
    async with sim() as replica, Front(Plan("chat", [replica.url]), settings=settings) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", PATH, form(b"\0" * 100_000), headers=TYPE)[:-10])
            reply = await client.reply()
            assert (reply.status, reply.header("x-gateway-error")) == (408, "body_timeout")
        assert front.outstanding(replica.url) == 0
        assert replica.requests == []


async def test_a_client_that_leaves_in_the_middle_of_a_file_closes_the_replica_s_connection() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", PATH, form(b"\0" * 100_000), headers=TYPE)[:-10])
            await until(lambda: len(tap.sent) > 50_000)
        await until(lambda: bool(front.records))
        assert front.records[0].outcome == "client_gone"
        assert front.outstanding(tap.url) == 0


async def test_an_answer_before_the_end_of_the_file_reaches_the_client() -> None:
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig"

    async def script(_: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(early)
        await reader.read()

    async with Scripted(script) as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", PATH, form(b"\0" * 100_000), headers=TYPE)[:-10])
            reply = await client.reply()
            assert (reply.status, reply.body) == (413, b"big")
        # Half a request was written there: nobody may use that connection again.
        assert front.leftovers().get(f"connections to {replica.url}", 0) == 0


async def test_a_file_goes_to_the_next_replica_while_nothing_of_it_was_sent() -> None:
    dead = unused_url()
    async with sim() as replica, Front(Plan("chat", [dead, replica.url])) as front:
        for _ in range(4):
            assert (await upload(front.port, form(b"\0" * 500_000))).status == 200
        assert front.dispatched(dead) > 0


async def test_a_file_whose_replica_dies_in_the_middle_is_not_sent_again() -> None:
    async def script(_: Scripted, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)

    async with Scripted(script) as replica, sim() as other, Front(Plan("chat", [replica.url])) as front:
        front.show(Plan("chat", [replica.url, other.url], weights={other.url: 0.001}))
        reply = await upload(front.port, form(b"\0" * 5_000_000))
        assert (reply.status, reply.header("x-gateway-error")) == (502, "replica_failed")
        assert other.requests == []


async def test_a_file_is_not_risked_on_a_kept_connection() -> None:
    """It could not be sent again if the replica has just closed that one."""

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replica.request(reader)
        writer.write(OK)
        await reader.read(1)  # the next request's first byte: too late, this connection closes

    async with Scripted(script) as replica, Front(Plan("chat", [replica.url])) as front:
        for _ in range(3):
            assert (await upload(front.port, form(b"\0" * 3_000_000))).status == 200
        assert len(replica.requests) == 3
