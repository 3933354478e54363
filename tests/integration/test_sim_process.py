"""The simulated replica as a process: its command line, its signals, its one line."""

import asyncio
import signal
import subprocess
import sys

import pytest

from gateway.sim import EngineLimits, Faults, ReplicaProcess, SimOptions, expected_text, spawn
from gateway.sim.arguments import parse_arguments, to_arguments
from tests.integration.sim_client import Client, ask, encode

OPTIONS = SimOptions(
    "demo", served_names=("one", "two"), adapters=(("lora-a", "loras/a"),), api_key="k", max_model_len=4096,
    tokens_default=7, emoji=True, keep_alive_s=1.5, max_num_queued_reqs=9,
    engine=EngineLimits(max_num_seqs=3, step_s=0.001, num_gpu_blocks=77), faults=Faults(status=503, times=0),
)  # fmt: skip


def test_options_survive_the_way_through_the_command_line() -> None:
    assert parse_arguments(to_arguments(OPTIONS)) == OPTIONS


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--fault=nope=1", "'nope' is not a fault"),
        ("--fault=status=soon", "fault status takes int, not 'soon'"),
        ("--adapter==x", "an adapter is NAME=ROOT, not '=x'"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_2(
    argument: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse_arguments(["--model", "demo", argument])
    assert exit_info.value.code == 2
    assert sentence in capsys.readouterr().err


def test_fault_switches_need_no_value() -> None:
    assert parse_arguments(["--model", "demo", "--fault", "freeze"]).faults == Faults(freeze=True)


async def test_a_process_serves_and_ends_in_order_on_sigterm() -> None:
    process = spawn(OPTIONS)
    async with process:
        key = {"authorization": "Bearer k"}
        reply = await ask(process.port, "GET", "/v1/models", **key)
        assert [card["id"] for card in reply.json["data"]] == ["one", "two", "lora-a"]
        body = {"model": "two", "prompt": "x", "max_tokens": 20}
        reply = await ask(process.port, "POST", "/v1/completions", body, **key)
        assert reply.text == expected_text("demo", None, "x", 20, emoji=True)
        async with await Client.open(process.port) as client:
            client.send(encode("POST", "/v1/completions", {**body, "stream": True}, headers=key))
            await client.head()
            assert await process.terminate() == 0, "at once, whatever runs"


async def test_a_stopped_process_hangs_and_goes_on_where_it_was() -> None:
    process = spawn(SimOptions("demo", engine=EngineLimits(step_s=0.005)))
    async with process, await Client.open(process.port) as client:
        client.send(encode("POST", "/v1/completions", {"prompt": "x", "stream": True, "max_tokens": 20}))
        await client.head()
        process.send_signal(signal.SIGSTOP)
        async with await Client.open(process.port) as probe:
            probe.send(encode("GET", "/health"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(probe.reader.read(1), 0.1)
            process.send_signal(signal.SIGCONT)
            assert (await probe.reply()).status == 200
        while await client.chunk():
            pass


async def test_a_killed_process_ends_its_streams_and_starts_again_on_its_port() -> None:
    async with spawn(SimOptions("demo")) as process:
        port = process.port
        async with await Client.open(port) as client:
            client.send(encode("POST", "/v1/completions", {"prompt": "x", "stream": True, "max_tokens": 999}))
            await client.head()
            await process.kill()
            assert (await client.reply()).end in ("eof", "reset")
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "GET", "/health")
        await process.start()
        assert process.port == port
        assert (await ask(port, "GET", "/health")).status == 200


async def test_a_taken_port_is_one_sentence() -> None:
    async with spawn(SimOptions("demo")) as process:
        second = ReplicaProcess(SimOptions("demo", port=process.port))
        with pytest.raises(
            RuntimeError, match=f"can't listen on 127.0.0.1:{process.port}: Address already in use"
        ):
            await second.start()


def test_sigint_ends_it_with_status_0() -> None:
    command = [sys.executable, "-m", "gateway.sim", "--model", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("simulated vLLM: demo on http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
