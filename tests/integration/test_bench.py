"""The benchmark's own programs over real sockets: what they count, and what they refuse to call good."""

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.bench import native, procfs
from loadtests.bench.measure import Bench
from loadtests.bench.native import NativePrograms
from loadtests.bench.peers import BY_NAME, NAIVE, Peer
from loadtests.bench.processes import Program, free_ports
from loadtests.bench.scenarios import MODEL, Scenario
from loadtests.bench.stage import wait_until_ready

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="the bench compiles its programs with cc")

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> NativePrograms:
    return native.build(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def replica(programs: NativePrograms, tmp_path: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    with Program(
        [str(programs.replica), "--port", str(port), "--interval-us", "2000"], tmp_path / "log"
    ) as program:
        wait_until_ready(port, program, "replica")
        yield port


async def load(programs: NativePrograms, port: int, mode: str, **options: float) -> dict[str, Any]:
    """Run the load client; returns what it printed."""
    more = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    process = await asyncio.create_subprocess_exec(
        programs.client, mode, "--target", f"127.0.0.1:{port}", *more, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    result: dict[str, Any] = json.loads(output)
    return result


def token(index: int, stamp: int = 1) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"@%d#%d@"}}]}\n\n' % (stamp, index)


def chunked(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that gives every request this answer and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_streams_of_the_replica_arrive_whole_in_order_and_byte_for_byte(
    programs: NativePrograms, replica: int
) -> None:
    result = await load(programs, replica, "stream", conns=8, rounds=2, tokens=20)
    assert (result["good"], result["byte_exact"], result["tokens"]) == (16, 16, 16 * 20)
    assert result["events"] == 16 * (1 + 20 + 1 + 1)
    assert result["delay_us"]["p50"] > 0


async def test_small_answers_are_counted_and_checked(programs: NativePrograms, replica: int) -> None:
    result = await load(programs, replica, "rest", conns=4, rounds=25, body_bytes=100_000)
    assert (result["good"], result["sent"], result["opened"]) == (100, 100, 4)


async def test_clients_that_hang_up_are_neither_good_nor_errors(
    programs: NativePrograms, replica: int
) -> None:
    result = await load(programs, replica, "stream", conns=4, rounds=6, tokens=20, hang_up_every=2)
    assert (result["good"], result["hung_up"], result["unfinished"]) == (12, 12, 0)


@pytest.mark.parametrize(
    ("answer", "counter"),
    [
        (HEAD + chunked(token(0), token(1), DONE) + END, "good"),
        (HEAD + chunked(token(0), DONE) + END, "bad_answer"),
        (HEAD + chunked(token(1), token(0), DONE) + END, "bad_answer"),
        (HEAD + chunked(token(0), token(1)) + END, "bad_answer"),
        (HEAD + chunked(token(0), token(1), b'data: {"error": {"code": 500}}\n\n', DONE) + END, "bad_answer"),
        (HEAD + chunked(token(0).replace(b'@"', b'@@0#0@"'), token(1), DONE) + END, "bad_answer"),
        (HEAD + chunked(token(0), token(1), DONE), "bad_connection"),
        (HEAD + b"zz\r\n", "bad_http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_http"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "bad_status"),
    ],
    ids=[
        "whole",
        "token missing",
        "tokens swapped",
        "no end marker",
        "error event",
        "two tokens in one event",
        "no end of the body",
        "broken chunk",
        "not HTTP",
        "status",
    ],
)
async def test_only_a_whole_and_right_answer_is_good(
    programs: NativePrograms, answer: bytes, counter: str
) -> None:
    async with answering(answer) as port:
        result = await load(programs, port, "stream", conns=1, rounds=1, tokens=2)
    counters = ("good", "bad_answer", "bad_connection", "bad_http", "bad_status")
    assert {name: result[name] for name in counters if result[name]} == {counter: 1}


async def test_an_answer_in_single_bytes_reads_like_one_in_a_piece(programs: NativePrograms) -> None:
    whole = HEAD + chunked(token(0), token(1), DONE) + END

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for position in range(len(whole)):
            writer.write(whole[position : position + 1])
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await load(programs, port, "stream", conns=1, rounds=1, tokens=2)
    assert (result["good"], result["first_error"]) == (1, "")


async def test_altered_bytes_are_noticed_though_every_token_is_there(
    programs: NativePrograms, replica: int
) -> None:
    """A proxy that rewrites events keeps the tokens; only the hash can tell."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", replica)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        upstream_writer.write(head + await reader.readexactly(length))
        while piece := await upstream_reader.readuntil(b"\n"):
            writer.write(piece.replace(b'"logprobs":null', b'"logprobs":9999'))
            if piece == b"0\r\n":
                break
        writer.write(b"\r\n")
        await writer.drain()
        for each in (writer, upstream_writer):
            each.close()
            await each.wait_closed()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await load(programs, port, "stream", conns=1, rounds=1, tokens=5)
    assert (result["good"], result["byte_exact"]) == (1, 0)


async def test_sigterm_lets_running_requests_finish_and_prints_the_result(
    programs: NativePrograms, replica: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(programs.client, "stream", "--target", f"127.0.0.1:{replica}"),
        *("--conns", "50", "--seconds", "60", "--tokens", "10", "--ramp-ms", "30000"),
        stdout=asyncio.subprocess.PIPE,
    )
    while procfs.open_files(process.pid) < 6:  # noqa: ASYNC110  another process has no event to wait for
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    result = json.loads(output)
    assert result["unfinished"] == 0
    assert result["good"] == result["sent"] > 0


def test_a_peer_is_measured_from_start_to_stop(programs: NativePrograms, tmp_path: Path) -> None:
    naive = Peer(
        "naive",
        lambda: Path(sys.executable),
        lambda place: [NAIVE, str(place.port), *place.replica_urls],
    )
    load = Scenario("S3", "a short load", conns=8, streaming=True, seconds=0.5, tokens=10)
    measured = Bench(programs, tmp_path).measure(naive, load, repetition=0)
    assert measured.complaint == ""
    assert measured.errors == 0
    assert measured.metrics["byte_exact_share"] == 1
    assert measured.metrics["cpu_us_per_event"] > 1
    assert measured.metrics["idle_pss_bytes"] > 1_000_000


def test_direct_needs_no_peer_and_costs_none(programs: NativePrograms, tmp_path: Path) -> None:
    load = Scenario("S5", "a short load", conns=1, seconds=0.2)
    measured = Bench(programs, tmp_path).measure(BY_NAME["direct"], load, repetition=0)
    assert measured.errors == 0
    assert measured.metrics["latency_p50_us"] > 0
    assert "cpu_us_per_request" not in measured.metrics


def test_a_peer_that_does_not_start_is_a_failed_measurement_with_its_last_words(
    programs: NativePrograms, tmp_path: Path
) -> None:
    broken = Peer("broken", lambda: Path(sys.executable), lambda _: ["-c", f"raise SystemExit('no {MODEL}')"])
    measured = Bench(programs, tmp_path).measure(broken, Scenario("S1", "", conns=1), repetition=0)
    assert measured.errors == 1
    assert measured.complaint == "broken ended at start: no demo"
    assert not measured.has_figures()


def test_stopping_a_program_stops_what_it_started(tmp_path: Path) -> None:
    child = "import time; print(1, flush=True); time.sleep(60)"
    parent = (
        "import signal, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "time.sleep(60)"
    )
    log = tmp_path / "log"
    with Program([sys.executable, "-c", parent], log) as program:
        while not log.read_text():
            assert not program.has_ended()
        family = set(procfs.family(program.pid))
        assert len(family) == 2
    assert not procfs.alive(family)
