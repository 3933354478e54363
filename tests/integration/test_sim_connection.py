"""HTTP/1.1 as uvicorn does it: order, keep-alive, disconnects, back-pressure."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, ask, encode, until

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)
STEADY = EngineLimits(step_s=0.005, prefill_tokens_per_s=0)
STREAM = {"prompt": "x", "stream": True, "max_tokens": 100_000}


@pytest.fixture
async def replica() -> AsyncIterator[SimulatedReplica]:
    async with SimulatedReplica(SimOptions("demo", engine=STEADY)) as replica:
        yield replica


async def test_pipelined_requests_are_answered_in_order(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        plain = encode("POST", "/v1/completions", {"prompt": "x", "max_tokens": 3})
        client.send(plain + encode("GET", "/version") + plain + encode("GET", "/health"))
        replies = [await client.reply() for _ in range(4)]
    assert [reply.status for reply in replies] == [200] * 4
    assert replies[0].text == replies[2].text == expected_text("demo", None, "x", 3)
    assert replies[1].json == {"version": "0.32.0"}


async def test_hundreds_of_pipelined_requests_all_get_their_answer(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", "/v1/completions", {"prompt": "x", "max_tokens": 3}))
        client.send(encode("GET", "/version") * 300)
        replies = [await client.reply() for _ in range(301)]
    assert all(reply.status == 200 for reply in replies)


async def test_a_chunked_request_body_is_put_together(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b'transfer-encoding: chunked\r\n\r\n9\r\n{"prompt"\r\n'
        )
        await asyncio.sleep(0)
        client.send(b'14\r\n:"x","max_tokens":2}\r\n0\r\n\r\n')
        assert (await client.reply()).text == expected_text("demo", None, "x", 2)


async def test_expect_100_continue_is_answered_before_the_body_is_sent(replica: SimulatedReplica) -> None:
    request = encode("POST", "/tokenize", {"prompt": "x"}, headers={"expect": "100-continue"})
    head, _, body = request.partition(b"\r\n\r\n")
    async with await Client.open(replica.port) as client:
        client.send(head + b"\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(body)
        assert (await client.reply()).json["count"] == 1


async def test_connection_close_is_honoured_and_announced(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        reply = await client.ask("GET", "/version", connection="close")
        assert reply.header("connection") == "close"
        assert await client.rest() == b""
        streamed = await ask(
            replica.port, "POST", "/v1/completions", {**STREAM, "max_tokens": 2}, connection="close"
        )
        assert streamed.header("connection") == "close"
        assert streamed.text == expected_text("demo", None, "x", 2)


async def test_an_idle_connection_is_closed_after_the_keep_alive_time_but_not_before_its_first_request() -> (
    None
):
    async with (
        SimulatedReplica(SimOptions("demo", keep_alive_s=0.05)) as replica,
        await Client.open(replica.port) as used,
        await Client.open(replica.port) as unused,
    ):
        await used.ask("GET", "/health")
        await used.ask("GET", "/health")
        assert await used.rest() == b"", "closed by the replica"
        assert (await unused.ask("GET", "/health")).status == 200


async def test_big_bodies_and_many_headers_are_accepted(replica: SimulatedReplica) -> None:
    headers = {f"x-{number}": "v" for number in range(300)}
    reply = await ask(replica.port, "POST", "/v1/sim/echo", b"\x00" * 5_000_000, **headers)
    assert len(reply.body) == 5_000_000


async def test_a_stream_s_head_comes_at_once_and_its_data_when_it_is_scheduled() -> None:
    limits = EngineLimits(max_num_seqs=1, step_s=0.005)
    async with (
        SimulatedReplica(SimOptions("demo", engine=limits)) as replica,
        await Client.open(replica.port) as first,
        await Client.open(replica.port) as second,
    ):
        first.send(encode("POST", "/v1/completions", STREAM))
        await first.head()
        await first.chunk()
        second.send(encode("POST", "/v1/completions", STREAM))
        assert (await second.head()).startswith(b"HTTP/1.1 200 OK")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.reader.read(1), 0.05)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_aborts_its_request_at_once(
    replica: SimulatedReplica, *, stream: bool
) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", "/v1/completions", {**STREAM, "stream": stream}))
        await until(lambda: replica.state.clock.published.running == 1)
    await until(lambda: replica.running == 0)
    assert replica.state.clock.published.running == 0
    assert replica.state.aborted == 1
    assert sum(replica.state.finished.values()) == 0, "vLLM does not count these"


async def test_a_client_that_leaves_while_queued_leaves_the_queue() -> None:
    limits = EngineLimits(max_num_seqs=1, step_s=0.005)
    async with (
        SimulatedReplica(SimOptions("demo", engine=limits)) as replica,
        await Client.open(replica.port) as running,
    ):
        running.send(encode("POST", "/v1/completions", STREAM))
        await running.head()
        async with await Client.open(replica.port) as queued:
            queued.send(encode("POST", "/v1/completions", STREAM))
            await until(lambda: replica.state.clock.published.waiting == 1)
        await until(lambda: replica.state.clock.published.waiting == 0)
        assert replica.state.clock.published.running == 1


async def test_a_half_close_counts_as_leaving(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1000}))
        await until(lambda: replica.running == 1)
        client.writer.write_eof()
        assert await client.rest() == b""
    await until(lambda: replica.state.aborted == 1)


async def test_a_slow_reader_stops_its_own_stream_only() -> None:
    async with SimulatedReplica(SimOptions("demo", engine=FAST)) as replica:
        replica.set_faults(pad_bytes=100_000)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", replica.port))
        await loop.sock_sendall(sock, encode("POST", "/v1/completions", STREAM))
        await until(lambda: any(c.paused for answer in replica.state.answers for c in answer.choices))
        (slow,) = replica.state.answers
        said = slow.generated
        other = await ask(replica.port, "POST", "/v1/completions", {**STREAM, "max_tokens": 200})
        assert other.text == expected_text("demo", None, "x", 200)
        assert slow.generated == said, "nothing is made for a reader that does not read"
        while slow.generated == said:
            await loop.sock_recv(sock, 1 << 20)
        sock.close()
        await until(lambda: replica.running == 0)


async def test_the_last_requests_are_remembered_with_headers_and_the_body_s_hash(
    replica: SimulatedReplica,
) -> None:
    body = b'{"prompt":"x","max_tokens":1}'
    await ask(replica.port, "POST", "/v1/completions?a=1", body, x_test="1", Authorization="Bearer t")
    (logged,) = (await ask(replica.port, "GET", "/sim/requests")).json[:1]
    assert (logged["method"], logged["path"], logged["body_bytes"]) == ("POST", "/v1/completions", len(body))
    assert ["x-test", "1"] in logged["headers"]
    assert ["authorization", "Bearer t"] in logged["headers"]
    assert logged["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert (logged["model"], logged["adapter"]) == ("demo", None)
    for _ in range(250):
        await ask(replica.port, "GET", "/health")
    assert len(replica.requests) == 200


async def test_the_api_key_guards_v1_and_nothing_else() -> None:
    async with SimulatedReplica(SimOptions("demo", api_key="secret")) as replica:
        refused = await ask(replica.port, "GET", "/v1/models")
        assert (refused.status, refused.body) == (401, b'{"error":"Unauthorized"}')
        assert (await ask(replica.port, "GET", "/v1/models", authorization="Bearer wrong")).status == 401
        assert (await ask(replica.port, "GET", "/v1/models", authorization="bearer secret")).status == 200
        assert (await ask(replica.port, "GET", "/v1/nope")).status == 401, "also unknown paths"
        for path in ("/health", "/metrics", "/version", "/load"):
            assert (await ask(replica.port, "GET", path)).status == 200


async def test_request_ids_come_back_only_when_switched_on() -> None:
    for on in (False, True):
        async with SimulatedReplica(SimOptions("demo", engine=FAST, request_id_headers=on)) as replica:
            for path, body in (("/health", None), ("/v1/completions", {"prompt": "x", "stream": True})):
                method = "POST" if body else "GET"
                reply = await ask(replica.port, method, path, body, x_request_id="my-id")
                assert reply.header("x-request-id") == ("my-id" if on else None)


async def test_two_replicas_of_a_model_say_the_same() -> None:
    options = SimOptions("demo", engine=FAST)
    async with SimulatedReplica(options) as a, SimulatedReplica(options) as b:
        body = {"prompt": "x", "max_tokens": 50}
        one, other = [(await ask(port, "POST", "/v1/completions", body)).text for port in (a.port, b.port)]
    assert one == other
