"""Answers on their way through: byte for byte, at the reader's pace, and when somebody leaves."""

import asyncio
import re
import tracemalloc
from typing import cast

import pytest

from gateway.fleet.snapshot import Timeouts
from gateway.proxy.front import ClientConnection
from gateway.proxy.settings import Settings
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan, Scripted, Tap, chat, completion, scripted, sim
from tests.integration.sim_client import Client, Reply, ask, encode, until

CHAT = "/v1/chat/completions"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


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


# -- at the reader's pace --


def endless(size: int) -> Scripted:
    """A replica that streams `size` bytes of events as fast as they are taken."""
    event = chunk(b"data: " + b"x" * 16_000 + b"\n\n")

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replica.request(reader)
        writer.write(STREAM_HEAD)
        for _ in range(size // len(event)):
            writer.write(event)
            await writer.drain()
            replica.written += 1
        writer.write(chunk(DONE) + b"0\r\n\r\n")
        await reader.read()

    return Scripted(script)


def socket_of(client: Client) -> asyncio.Transport:
    return cast("asyncio.Transport", client.writer.transport)


async def stalled(replica: Scripted) -> None:
    """Wait until the replica can't write any more: its count stands still."""
    before = -1
    while replica.written != before:
        before = replica.written
        await asyncio.sleep(0.1)


async def test_a_slow_reader_stops_the_replica_and_the_gateway_keeps_almost_nothing() -> None:
    size = 200 << 20
    async with (
        endless(size) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", CHAT, chat(stream=True)))
        await client.head()
        socket_of(client).pause_reading()
        tracemalloc.start()
        await stalled(replica)
        assert replica.written * 16_000 < 40 << 20  # what the sockets' buffers hold
        socket_of(client).resume_reading()
        read = 0
        while (piece := await client.chunk()) and read < size // 4:
            read += len(piece)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 << 20


async def test_a_client_that_asks_again_and_again_without_reading_is_not_written_to_without_end() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
    asked = 500

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await replica.request(reader)
            writer.write(answer)
            await writer.drain()
            replica.written += 1

    async with (
        Scripted(script) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        socket_of(client).pause_reading()
        client.send(encode("POST", CHAT, chat()) * asked)
        await stalled(replica)
        (connection,) = front.planes[0].front.connections
        assert isinstance(connection, ClientConnection)
        assert connection.unsent_bytes() < 2 << 20
        # Nothing is stuck: the connection to the replica that was held up goes on as well.
        socket_of(client).resume_reading()
        for _ in range(asked):
            assert len((await client.reply()).body) == 100_000


# -- who leaves --

SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_closes_the_replica_s_connection_within_a_second(stream: bool) -> None:  # noqa: FBT001
    async with sim(engine=SLOW) as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=stream, max_tokens=10_000)))
            await until(lambda: replica.running == 1)
            if stream:
                await client.head()
        await until(lambda: replica.state.aborted == 1, 1.0)
        await until(lambda: bool(front.records), 1.0)
        assert front.records[0].outcome == "client_gone"
        assert front.records[0].status == (200 if stream else 499)
        assert front.count(families.DISCONNECTS) == 1
        assert front.count(families.BROKEN) == 0


async def test_half_closing_counts_as_leaving_as_it_does_with_vllm() -> None:
    async with (
        sim(engine=SLOW) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        client.send(encode("POST", CHAT, chat(max_tokens=10_000)))
        await until(lambda: replica.running == 1)
        client.writer.write_eof()
        await until(lambda: replica.state.aborted == 1, 1.0)


async def test_a_client_that_leaves_while_its_body_arrives_leaves_no_trace() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat())[:-5])
            await until(lambda: front.planes[0].gateway.running == 1)
        await until(lambda: bool(front.records))
        assert (front.records[0].outcome, front.records[0].status) == ("client_gone", 499)
        assert replica.requests == []


async def test_a_pipelined_request_of_a_client_that_left_is_not_sent() -> None:
    async with sim(engine=SLOW) as replica, Front(Plan("chat", [replica.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(max_tokens=10_000)) * 2)
            await until(lambda: replica.running == 1)
        await until(lambda: replica.state.aborted == 1, 1.0)
        assert len(replica.requests) == 1


async def test_a_client_that_reads_nothing_for_the_idle_time_is_let_go() -> None:
    plan = {"timeouts": Timeouts(idle_s=0.3)}
    async with endless(64 << 20) as replica, Front(Plan("chat", [replica.url], **plan)) as front:  # type: ignore[arg-type]
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await client.head()
            socket_of(client).pause_reading()
            await until(lambda: bool(front.records))
        assert front.records[0].outcome == "client_gone"
        assert front.outstanding(replica.url) == 0


# -- what breaks --


async def broken(replica_url: str, body: dict[str, object], path: str = CHAT) -> tuple[Reply, Front]:
    async with Front(Plan("chat", [replica_url])) as front:
        return await ask(front.port, "POST", path, body), front


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset_after_tokens", "reset"),
        ("close_mid_chunk_after_tokens", "closed"),
        ("cut_in_character_after_tokens", "closed"),
        ("truncate_after_tokens", "without its end marker"),
        ("error_event_after_tokens", "EngineCore encountered an issue"),
        ("abort_after_tokens", "aborted"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 1000])
async def test_a_stream_that_breaks_ends_in_an_error_event_and_never_looks_complete(
    fault: str, error: str, piece_bytes: int
) -> None:
    async with sim(emoji=True) as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(**{fault: 5}, piece_bytes=piece_bytes)
        reply = await ask(front.port, "POST", CHAT, chat(stream=True, max_tokens=200))
        assert (reply.status, reply.end) == (200, "eof")
        *events, last = [event for chunk in reply.chunks for event in chunk.split(b"\n\n") if event]
        assert DONE.strip() not in events
        assert last.startswith(b'data: {"error"')
        assert error.encode() in last
        assert all(event.startswith(b'data: {"id"') and event.endswith(b"}") for event in events)
        assert front.records[0].outcome == "broken"
        assert front.count(families.BROKEN) == 1
        assert front.count(families.REQUESTS, "200") == 1


async def test_a_stream_cut_inside_an_event_does_not_spoil_the_error_event() -> None:
    begun = STREAM_HEAD + chunk(b'data: {"id":1}\n\ndata: {"id"') + b"0\r\n\r\n"
    async with scripted(begun) as replica:
        reply, _ = await broken(replica.url, chat(stream=True))
        events = [event for event in reply.body.split(b"\n\n") if event]
        assert events[0] == b'data: {"id":1}'
        assert events[-1].startswith(b'data: {"error"')
        assert len(events) == 2


async def test_an_end_marker_inside_a_text_is_no_end() -> None:
    text = b'data: {"text":"data: [DONE]\\n\\n \\"error\\" data: {\\"error\\""}\n\n'
    async with scripted(STREAM_HEAD + chunk(text) + b"0\r\n\r\n") as replica:
        reply, front = await broken(replica.url, chat(stream=True))
        assert reply.body.startswith(text)
        assert front.records[0].outcome == "broken"


async def test_a_stream_whose_end_marker_came_is_complete_even_if_its_framing_is_cut() -> None:
    async with scripted(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(DONE)) as replica:
        reply, front = await broken(replica.url, chat(stream=True))
        assert (reply.body, reply.end) == (b"data: 1\n\n" + DONE, "complete")
        assert front.records[0].outcome == "complete"


async def test_events_after_the_end_marker_pass_and_harm_nobody() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(event_after_done=True)
        for _ in range(3):
            reply = await ask(front.port, "POST", CHAT, chat(stream=True))
            assert reply.end == "complete"
            assert reply.body.endswith(DONE + b'data: {"late":true}\n\n')


async def test_a_stream_of_an_unknown_route_needs_no_end_marker() -> None:
    async with scripted(STREAM_HEAD + chunk(b"data: 1\n\n") + b"0\r\n\r\n") as replica:
        reply, _ = await broken(replica.url, {"model": "chat"}, "/v1/new")
        assert (reply.body, reply.end) == (b"data: 1\n\n", "complete")


async def test_silence_in_the_middle_of_a_stream_ends_at_the_idle_limit() -> None:
    async with sim() as replica:
        replica.set_faults(stall_after_tokens=3)
        plan = Plan("chat", [replica.url], timeouts=Timeouts(idle_s=0.3))
        async with Front(plan) as front:
            reply = await ask(front.port, "POST", CHAT, chat(stream=True))
            assert reply.end == "eof"
            assert b'"GatewayTimeoutError"' in reply.body
            await until(lambda: replica.state.aborted == 1, 1.0)


async def test_an_answer_that_takes_longer_than_the_total_limit_is_ended() -> None:
    async with sim(engine=SLOW) as replica:
        plan = Plan("chat", [replica.url], timeouts=Timeouts(total_s=0.3))
        async with Front(plan) as front:
            streamed = await ask(front.port, "POST", CHAT, chat(stream=True, max_tokens=10_000))
            assert b'"GatewayTimeoutError"' in streamed.body
            plain = await ask(front.port, "POST", CHAT, chat(max_tokens=10_000))
            assert (plain.status, plain.header("x-gateway-error")) == (504, "total_timeout")


@pytest.mark.parametrize("delta", [5, -5])
async def test_a_wrong_content_length_never_looks_like_the_whole_answer(delta: int) -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(content_length_delta=delta, times=1)
        reply = await ask(front.port, "POST", CHAT, chat(max_tokens=3))
        assert reply.end == ("eof" if delta > 0 else "complete")
        # Whatever was left on that connection is not taken for the next answer.
        assert (await ask(front.port, "POST", CHAT, chat(max_tokens=3))).json["object"] == "chat.completion"


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
