"""Outages that need the whole program: `vllm-gateway serve` with its processes, and replicas that freeze.

`tests/test_twenty_outages.py` says which outages of other gateways these stand for, and where the others are.
"""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.sim import EngineLimits, SimOptions, expected_text, spawn
from loadtests.bench import procfs
from tests.integration.harness import Front, Plan
from tests.integration.served import said, serve
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import chat, sim

CHAT = "/v1/chat/completions"
SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)
QUICK_HEALTH = {"interval": "100ms", "timeout": "300ms", "fall": 2, "metrics_interval": "100ms"}


def text_of(tokens: int) -> str:
    return expected_text("chat", None, [{"role": "user", "content": "hi"}], tokens)


# -- hung and frozen --


async def test_an_engine_that_hangs_while_its_health_says_200_loses_its_streams_to_another(
    tmp_path: Path,
) -> None:
    async with sim(engine=SLOW) as a, sim(engine=SLOW) as b:
        config = {
            "models": {"chat": {"replicas": [a.url, b.url]}},
            "health": {"interval": "100ms", "metrics_interval": "100ms"},
            "ejection": {"hang": "500ms"},
        }
        async with serve(tmp_path, config) as gateway:
            body = chat(stream=True, max_tokens=150)
            asking = [asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body)) for _ in range(8)]
            await until(lambda: a.running == b.running == 4)
            a.set_faults(freeze=True)
            await gateway.shows(a.url, "ejected")
            assert (await gateway.metric("replica_ejections_total", replica=a.url, reason="hung")) == 1
            assert [said(reply) for reply in await asyncio.gather(*asking)] == [text_of(150)] * 8
            status = await ask(a.port, "GET", "/health")
            assert status.status == 200
            a.clear_faults()
            await gateway.shows(a.url, "up", "trial")


async def test_a_replica_whose_machine_is_frozen_loses_its_streams_to_another(tmp_path: Path) -> None:
    """Nothing refuses and nothing ends: neither probes nor streams get a word."""
    options = SimOptions("chat", engine=SLOW)
    async with spawn(options) as a, sim(engine=SLOW) as b:
        config = {
            "models": {"chat": {"replicas": [a.url, b.url]}},
            "health": QUICK_HEALTH,
            "ejection": {"hang": "500ms"},
        }
        async with serve(tmp_path, config) as gateway:
            body = chat(stream=True, max_tokens=150)
            asking = [asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body)) for _ in range(8)]
            await until(lambda: b.running == 4)
            a.send_signal(signal.SIGSTOP)
            waiting = asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body))
            assert [said(reply) for reply in await asyncio.gather(*asking, waiting)] == [text_of(150)] * 9
            await gateway.shows(a.url, "unresponsive", "ejected")
            a.send_signal(signal.SIGCONT)


async def test_when_the_probes_of_all_replicas_time_out_requests_still_flow(tmp_path: Path) -> None:
    async with sim() as a, sim() as b:
        config = {"models": {"chat": {"replicas": [a.url, b.url]}}, "health": QUICK_HEALTH}
        async with serve(tmp_path, config) as gateway:
            for replica in (a, b):
                replica.set_faults(health_hang=True)
            for replica in (a, b):
                await gateway.shows(replica.url, "unresponsive")
            replies = await asyncio.gather(*(ask(gateway.port, "POST", CHAT, chat()) for _ in range(20)))
            assert {reply.status for reply in replies} == {200}


# -- kept connections --


async def test_posts_at_the_pace_of_the_replica_s_keep_alive_never_fail() -> None:
    """The replica closes idle connections just when the next request comes, and the loop is late."""
    async with (
        sim(keep_alive_s=0.05) as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        for turn in range(100):
            reply = await client.ask("POST", CHAT, chat(stream=turn % 2 == 0))
            assert (reply.status, reply.end) == (200, "complete")
            await asyncio.sleep(0.048 + turn % 5 * 0.001)
            time.sleep(turn % 3 * 0.002)  # noqa: ASYNC251 - the loop that stalls is what this is about


# -- ends --


async def test_on_sigterm_all_open_streams_finish_and_nobody_new_is_taken(tmp_path: Path) -> None:
    async with sim(engine=SLOW) as replica:
        config = {"models": {"chat": {"replicas": [replica.url]}}, "workers": 2, "shutdown_grace": "30s"}
        async with serve(tmp_path, config) as gateway:
            body = chat(stream=True, max_tokens=60)
            asking = [asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body)) for _ in range(50)]
            await until(lambda: replica.running == 50)
            gateway.running.process.send_signal(signal.SIGTERM)
            await _refused(gateway.port)
            assert [said(reply) for reply in await asyncio.gather(*asking)] == [text_of(60)] * 50
            assert await gateway.running.ended() == 0
            await gateway.running.all_gone()
        assert replica.running == 0


async def _refused(port: int) -> None:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.closing(writer):
                    writer.write(encode("GET", "/health"))
                    if not await reader.read(1 << 16):
                        return
                await asyncio.sleep(0.02)


async def test_a_second_sigterm_ends_streams_at_once_with_an_error_event(tmp_path: Path) -> None:
    async with sim(engine=SLOW) as replica:
        config = {"models": {"chat": {"replicas": [replica.url]}}}
        async with serve(tmp_path, config) as gateway:
            body = chat(stream=True, max_tokens=100_000)
            asking = [asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body)) for _ in range(5)]
            await until(lambda: replica.running == 5 and all(a.generated for a in replica.state.answers))
            gateway.running.process.send_signal(signal.SIGTERM)
            await _refused(gateway.port)
            gateway.running.process.send_signal(signal.SIGTERM)
            for reply in await asyncio.gather(*asking):
                assert reply.end == "eof"
                assert b'data: {"error"' in reply.body
            assert await gateway.running.ended() == 0
        await until(lambda: replica.running == 0)


async def test_a_killed_control_process_takes_no_stream_with_it(tmp_path: Path) -> None:
    async with sim(engine=SLOW) as replica:
        config = {"models": {"chat": {"replicas": [replica.url]}}}
        async with serve(tmp_path, config) as gateway:
            body = chat(stream=True, max_tokens=80)
            asking = [asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body)) for _ in range(10)]
            await until(lambda: replica.running == 10)
            os.kill(gateway.running.process.pid, signal.SIGKILL)
            assert [said(reply) for reply in await asyncio.gather(*asking)] == [text_of(80)] * 10
            await gateway.running.all_gone()


async def test_without_a_control_process_streams_still_go_on_elsewhere_when_a_replica_dies(
    tmp_path: Path,
) -> None:
    async with spawn(SimOptions("chat", engine=SLOW)) as a, sim(engine=SLOW) as b:
        config = {"models": {"chat": {"replicas": [a.url, b.url]}}}
        async with serve(tmp_path, config) as gateway:
            body = chat(stream=True, max_tokens=120)
            asking = [asyncio.ensure_future(ask(gateway.port, "POST", CHAT, body)) for _ in range(10)]
            await until(lambda: b.running == 5)
            os.kill(gateway.running.process.pid, signal.SIGKILL)
            await _refused(gateway.port)
            await a.kill()
            assert [said(reply) for reply in await asyncio.gather(*asking)] == [text_of(120)] * 10
            await gateway.running.all_gone()


# -- what grows --


async def test_memory_and_descriptors_stay_flat(tmp_path: Path) -> None:
    async with sim() as replica:
        config = {"models": {"chat": {"replicas": [replica.url]}}}
        async with serve(tmp_path, config) as gateway:
            pid = gateway.running.process.pid
            await _load(gateway.port, 1500)
            memory, files = _own_bytes(pid), procfs.open_files(pid)
            await _load(gateway.port, 2500)
            assert _own_bytes(pid) < memory + (2 << 20)
            assert procfs.open_files(pid) <= files + 8  # what probes have open at the moment


def _own_bytes(root: int) -> int:
    """Memory that these processes share with nobody: what others map as well comes and goes with them."""
    statuses = [(procfs.PROC / str(pid) / "status").read_text() for pid in procfs.family(root)]
    lines = [line for status in statuses for line in status.splitlines() if line.startswith("RssAnon:")]
    return sum(int(line.split()[1]) * 1024 for line in lines)


async def _load(port: int, requests: int) -> None:
    async def some() -> None:
        async with await Client.open(port) as client:
            for turn in range(requests // 10):
                body = chat(stream=turn % 2 == 0, max_tokens=3)
                assert (await client.ask("POST", CHAT, body)).status == 200

    await asyncio.gather(*(some() for _ in range(10)))


async def test_what_clients_make_up_becomes_no_label(tmp_path: Path) -> None:
    async with sim() as replica:
        config = {"models": {"chat": {"replicas": [replica.url]}}}
        async with serve(tmp_path, config) as gateway:
            for status in ("chat", "made-up"):
                await ask(gateway.port, "POST", CHAT, chat(model=status))
            before = _labels(await gateway.admin_text("/metrics"))
            for turn in range(200):
                await ask(gateway.port, "POST", CHAT, chat(model=f"made-up-{turn}"))
                await ask(gateway.port, "POST", CHAT, chat(), **{f"x-{turn}": str(turn)})
            for path in ("/v1/chat/completions/x", "/v1/nothing", "/nowhere"):
                await ask(gateway.port, "POST", path, {"model": "chat"})
            after = _labels(await gateway.admin_text("/metrics"))
            assert {labels for labels in after - before if "made-up" in str(labels)} == set()
            assert len(after - before) < 20  # answers with statuses and durations that were not there yet


def _labels(text: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    }
