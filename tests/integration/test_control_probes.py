"""Asking replicas over real sockets, well and odd ones."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gateway.config import Address
from gateway.control import canary, probes
from gateway.control.canary import Canary
from gateway.control.listening import CannotListen, bound_address, listen
from gateway.control.probes import NoAnswer, Outcome, Target, open_session, probe, read_models
from gateway.fleet.health import Probe
from gateway.fleet.observation import ServedModel
from gateway.sim import SimOptions, SimulatedReplica

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


@asynccontextmanager
async def odd_server(answer: Answer) -> AsyncIterator[Target]:
    """A server that does what it likes with each connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


def says(text: bytes) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return answer


def http(status: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


# -- health --


async def test_a_healthy_replica_is_ok_and_its_latency_is_known(session: aiohttp.ClientSession) -> None:
    async with SimulatedReplica(SimOptions("m")) as replica:
        outcome = await probe(session, Target(replica.url), "/health", 10.0)
    assert (outcome.probe, outcome.detail) == (Probe.OK, "healthy")
    assert outcome.latency_s > 0


async def test_a_port_where_nobody_listens_is_a_refusal(session: aiohttp.ClientSession) -> None:
    async with SimulatedReplica(SimOptions("m")) as replica:
        url = replica.url
    assert await probe(session, Target(url), "/health", 10.0) == Outcome(Probe.REFUSED, "connection refused")


@pytest.mark.parametrize(
    ("answer", "verdict", "detail"),
    [
        (says(http("503 Service Unavailable")), Probe.BAD_STATUS, "GET /health: HTTP 503"),
        (
            says(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
            Probe.BAD_STATUS,
            "GET /health: HTTP 302",
        ),
        (says(http("401 Unauthorized")), Probe.BAD_STATUS, "GET /health: HTTP 401 (is its API key right?)"),
        (says(b"SSH-2.0-OpenSSH\r\n"), Probe.BAD_STATUS, "the answer is not HTTP that can be read"),
        (says(b""), Probe.TIMEOUT, "the connection broke"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Probe.TIMEOUT, "the connection broke"),
        (resets, Probe.TIMEOUT, None),
        (waits, Probe.TIMEOUT, "no answer in time"),
    ],
)
async def test_an_odd_answer_has_a_verdict_and_words(
    session: aiohttp.ClientSession, answer: Answer, verdict: Probe, detail: str | None
) -> None:
    async with odd_server(answer) as target:
        outcome = await probe(session, target, "/health", 0.2)
    assert outcome.probe is verdict
    assert detail in {None, outcome.detail}


async def test_an_answer_without_end_is_cut(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "READ_LIMIT_BYTES", 1000)
    async with odd_server(says(http("200 OK", b"x" * 5000))) as target:
        outcome = await probe(session, target, "/health", 10.0)
    assert outcome.probe is Probe.BAD_STATUS


# -- models --


async def test_the_models_of_a_replica_with_an_adapter_and_a_key(session: aiohttp.ClientSession) -> None:
    options = SimOptions(
        "weights/m", served_names=("m", "n"), adapters=(("sql", "l"),), api_key="k", max_model_len=2048
    )
    async with SimulatedReplica(options) as replica:
        models = await read_models(session, Target(replica.url, "Bearer k"), 10.0)
    assert models == (
        ServedModel("m", None, "weights/m", 2048),
        ServedModel("n", None, "weights/m", 2048),
        ServedModel("sql", "m", "l", None),
    )


async def test_a_missing_key_is_told_as_such(session: aiohttp.ClientSession) -> None:
    async with SimulatedReplica(SimOptions("m", api_key="k")) as replica:
        with pytest.raises(NoAnswer, match=r"HTTP 401 \(is its API key right\?\)"):
            await read_models(session, Target(replica.url), 10.0)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": "m"}', b'{"data": [{"name": "m"}]}', b"\xff"])
async def test_what_is_not_a_model_list_is_no_answer(session: aiohttp.ClientSession, body: bytes) -> None:
    async with odd_server(says(http("200 OK", body))) as target:
        with pytest.raises(NoAnswer, match="not a model list") as caught:
            await read_models(session, target, 10.0)
    assert caught.value.outcome.probe is Probe.BAD_STATUS


async def test_a_broken_connection_is_tried_again(session: aiohttp.ClientSession) -> None:
    calls = 0

    async def breaks_twice(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            writer.write(http("200 OK", b'{"data": [{"id": "m"}]}'))

    async with odd_server(breaks_twice) as target:
        assert await read_models(session, target, 10.0) == (ServedModel("m"),)


async def test_a_refusal_is_not_tried_again(session: aiohttp.ClientSession) -> None:
    calls = 0

    async def refuses(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.write(http("500 Internal Server Error"))

    async with odd_server(refuses) as target:
        with pytest.raises(NoAnswer):
            await read_models(session, target, 10.0)
    assert calls == 1


# -- the canary --


async def ask(session: aiohttp.ClientSession, url: str, timeout_s: float = 10.0) -> Canary:
    return await canary.ask(session, Target(url), "m", timeout_s)


@pytest.mark.parametrize("pooling", [False, True])
async def test_an_engine_that_works_answers_the_canary(
    session: aiohttp.ClientSession, *, pooling: bool
) -> None:
    async with SimulatedReplica(SimOptions("m", pooling=pooling)) as replica:
        assert await ask(session, replica.url) is Canary.ALIVE


async def test_a_frozen_engine_is_silent(session: aiohttp.ClientSession) -> None:
    async with SimulatedReplica(SimOptions("m")) as replica:
        replica.set_faults(freeze=True)
        assert await ask(session, replica.url, timeout_s=0.1) is Canary.SILENT


async def test_a_server_error_is_no_sign_of_life(session: aiohttp.ClientSession) -> None:
    async with SimulatedReplica(SimOptions("m")) as replica:
        replica.set_faults(status=500)
        assert await ask(session, replica.url) is Canary.SILENT


async def test_a_server_that_has_none_of_the_routes_can_not_be_judged(session: aiohttp.ClientSession) -> None:
    async with odd_server(says(http("404 Not Found"))) as target:
        assert await ask(session, target.url) is Canary.CANNOT_TELL


async def test_a_bad_request_is_no_sign_of_life_either(session: aiohttp.ClientSession) -> None:
    async with odd_server(says(http("400 Bad Request"))) as target:
        assert await ask(session, target.url) is Canary.CANNOT_TELL


# -- listening --


def test_port_0_becomes_a_port_that_answers() -> None:
    sockets = listen(Address("127.0.0.1", 0))
    address = bound_address(sockets, Address("127.0.0.1", 0))
    with socket.create_connection((address.host, address.port)):
        pass
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("host", ["", "localhost", "::1"])
def test_all_ways_to_write_this_machine_can_be_listened_on(host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        sockets = listen(Address(host, 0))
    except CannotListen:
        assert host == "::1", "only IPv6 may be missing"
        pytest.skip("this machine has no IPv6 loopback")
    ports = {sock.getsockname()[1] for sock in sockets}
    assert len(ports) == 1
    for sock in sockets:
        sock.close()


def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            listen(Address("127.0.0.1", port))
    assert str(caught.value) == f"can't listen on 127.0.0.1:{port}: address already in use"
    assert caught.value.address.port == port


def test_a_host_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(CannotListen, match=r"can't listen on nowhere\.invalid:80: "):
        listen(Address("nowhere.invalid", 80))
