"""`vllm-gateway demo`: it shows tokens, serves as its hints say, and leaves nothing behind."""

import re
import signal
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.integration.commands import command, running

HAS_PROC = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs /proc to look for processes"
)


async def test_once_shows_a_streamed_answer_and_ends() -> None:
    done = await command("demo", "--once")
    assert (done.status, done.err) == (0, "")
    assert "model llama-demo: 2 of 2 replicas up, also llama-demo-sql" in done.out
    assert "model qwen-demo: 2 of 2 replicas up" in done.out
    assert "model embed-demo: 1 of 1 replica up" in done.out
    told = re.search(r"\n(\d+) pieces in \S+ s \(\d+ a second\), the first after .+, from \S+\n", done.out)
    assert told is not None
    assert int(told[1]) > 10


async def test_its_hints_work_as_printed() -> None:
    async with running("demo") as demo:
        await demo.said("Ctrl-C ends everything.")
        base = next(line.rpartition("=")[2] for line in demo.lines if line.startswith("clients: "))
        async with ClientSession() as session:
            async with session.get(f"{base}/models") as response:
                names = {model["id"] for model in (await response.json())["data"]}
            assert names == {"llama-demo", "llama-demo-sql", "qwen-demo", "embed-demo"}
            async with session.post(
                f"{base}/embeddings", json={"model": "embed-demo", "input": ["Hello"]}
            ) as response:
                assert response.status == 200
            for model in sorted(names - {"embed-demo"}):
                body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
                async with session.post(f"{base}/chat/completions", json=body) as response:
                    assert response.status == 200
                    assert (await response.json())["model"] == model
        curls = [line for line in demo.lines if line.startswith("  curl ")]
        assert len(curls) == 5
        assert all(base in line or "/metrics" in line for line in curls)


@HAS_PROC
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_however_it_ends_no_process_is_left(number: signal.Signals) -> None:
    async with running("demo") as demo:
        await demo.said("pieces in")
        assert len(demo.alive()) == 7, "itself, one worker, five replicas"
        if number is signal.SIGINT:
            demo.signal_group(number)
        else:
            demo.process.send_signal(number)
        status = await demo.ended()
        assert status == (0 if number is not signal.SIGKILL else -number)
        await demo.all_gone()


async def test_a_busy_port_is_no_obstacle() -> None:
    """Two at once: the second finds the usual ports taken and says what it does about it."""
    async with running("demo") as first:
        await first.said("pieces in")
        second = await command("demo", "--once")
    assert second.status == 0
    assert re.search(
        r"^127\.0\.0\.1:8000 is in use.*; taking a free port instead\.$", second.out, re.MULTILINE
    )
    assert "clients: export OPENAI_BASE_URL=http://127.0.0.1:8000/v1" not in second.out
