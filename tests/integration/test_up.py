"""`vllm-gateway up` as its users run it, with fake vLLM servers: several models by one command."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from gateway.control.admin.status import Status
from gateway.sim import SimOptions, SimulatedReplica
from tests.integration.commands import Running, command, running
from tests.integration.launches import FAKE, Launches, launches
from tests.integration.sim_client import until
from tests.integration.stand_ins import chat

READY = "clients: export OPENAI_BASE_URL="


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Launches]:
    with launches(tmp_path) as it:
        yield it


def write_config(servers: Launches, models: dict[str, Any], **more: Any) -> str:
    """A configuration whose models are launched from `launch` sections without their files."""
    for model in models.values():
        if "launch" in model:
            model["launch"].setdefault("model", str(servers.model))
    config = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "workers": 1,
        "shutdown_grace": "2s",
        "health": {"interval": "200ms"},
        "gpus": [{"name": "RTX 3090", "memory": "8GiB"}],
        "vllm_command": list(FAKE),
        "models": models,
        **more,
    }
    path = servers.folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def two_models(servers: Launches, **launch: Any) -> str:
    adapters = {"sql": str(servers.adapter)}
    chatting = {"launch": {"adapters": adapters, "priority": 1, **launch}}
    return write_config(servers, {"chat": chatting, "other": {"launch": {}}})


@asynccontextmanager
async def up(servers: Launches, config: str) -> AsyncIterator[Running]:
    async with running("up", "-c", config, **servers.environment) as it:
        yield it


def base_url(gateway: Running) -> str:
    return gateway.lines[-1].removeprefix(READY)


async def answer(session: aiohttp.ClientSession, url: str, model: str) -> int:
    async with session.post(f"{url}/chat/completions", json=chat(model=model)) as response:
        await response.read()
        return response.status


async def status(gateway: Running) -> Status:
    (line,) = [line for line in gateway.lines if line.startswith("admin and metrics on ")]
    done = await command("status", "--json", "--admin", line.rpartition("http://")[2])
    return msgspec.json.decode(done.out, type=Status)


async def test_several_models_and_an_adapter_are_served_by_one_command(servers: Launches) -> None:
    async with up(servers, two_models(servers)) as gateway, aiohttp.ClientSession() as session:
        await gateway.said(READY)
        assert servers.happened() == ["chat begin", "chat ready", "other begin", "other ready"]
        assert "model chat: 1 of 1 replica up, also sql" in gateway.lines
        assert "chat: loading weights" in gateway.lines
        for model in ("chat", "sql", "other"):
            assert await answer(session, base_url(gateway), model) == 200
        document = await status(gateway)
        assert {replica.origin for replica in document.replicas} == {"launched"}
        (device,) = document.devices
        assert [server.model for server in device.servers] == ["chat", "other"]
        assert [server.replica for server in device.servers] == [r.url for r in document.replicas]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_its_end_is_the_orderly_end_of_every_server(servers: Launches, number: signal.Signals) -> None:
    async with up(servers, two_models(servers)) as gateway:
        await gateway.said(READY)
        if number is signal.SIGINT:
            gateway.signal_group(number)  # what a terminal does
        else:
            gateway.process.send_signal(number)
        assert await gateway.ended() == 0
        servers.wait_gone()
        assert servers.happened().count("chat sigterm") == servers.happened().count("other sigterm") == 1
        errors = await gateway.errors()
        assert "Traceback" not in errors
        assert "refused" not in errors


@pytest.mark.parametrize("moment", ["chat: loading weights", READY])
async def test_kill_9_of_control_leaves_nothing(servers: Launches, moment: str) -> None:
    async with up(servers, two_models(servers)) as gateway:
        await gateway.said(moment)
        gateway.process.kill()
        await gateway.ended()
        servers.wait_gone()


async def test_ctrl_c_during_a_start_ends_it(servers: Launches) -> None:
    async with up(servers, two_models(servers, env={"FAKE_VLLM": "late"})) as gateway:
        await gateway.said("chat: preparing the KV cache")
        gateway.signal_group(signal.SIGINT)
        assert await gateway.ended() == 0
        servers.wait_gone()
        assert servers.happened() == ["chat begin"]


async def test_the_first_server_answers_while_the_next_still_starts(servers: Launches) -> None:
    models = {"chat": {"launch": {"priority": 1}}, "other": {"launch": {"env": {"FAKE_VLLM": "late"}}}}
    config = write_config(servers, models)
    async with up(servers, config) as gateway, aiohttp.ClientSession() as session:
        url = (await gateway.said("Serving on ")).split()[2]
        # Told by another task, so it may be said before.
        if "other: preparing the KV cache" not in "".join(gateway.lines):
            await gateway.said("other: preparing the KV cache")
        for _ in range(3):
            assert await answer(session, url, "chat") == 200


async def test_a_server_that_dies_comes_back_with_its_adapter_while_the_other_answers(
    servers: Launches,
) -> None:
    async with up(servers, two_models(servers)) as gateway, aiohttp.ClientSession() as session:
        await gateway.said(READY)
        first = servers.engine("chat")
        os.kill(first, signal.SIGKILL)
        while len(servers.lines("chat ready")) < 2:
            assert await answer(session, base_url(gateway), "other") == 200
        assert await answer_of_the_adapter(session, gateway) == 200
        kinds = [event.kind for event in (await status(gateway)).events]
        assert kinds.count("server_ended") == 1
        assert servers.happened().count("other begin") == 1


async def answer_of_the_adapter(session: aiohttp.ClientSession, gateway: Running) -> int:
    """Its first answer that is no refusal."""
    while (code := await answer(session, base_url(gateway), "sql")) in (404, 503):
        pass
    return code


async def test_launched_replicas_and_remote_servers_are_one_pool(servers: Launches) -> None:
    async with SimulatedReplica(SimOptions("tiny", served_names=("chat",))) as remote:
        models = {"chat": {"launch": {"replicas": 2}, "replicas": [remote.url]}}
        async with up(servers, write_config(servers, models)) as gateway:
            await gateway.said(READY)
            assert "model chat: 3 of 3 replicas up" in gateway.lines
            origins = [replica.origin for replica in (await status(gateway)).replicas]
            assert sorted(origins) == ["declared", "launched", "launched"]


async def test_one_that_is_given_up_is_said_loudly_and_the_others_serve(servers: Launches) -> None:
    config = two_models(servers, env={"FAKE_VLLM": "settings"})
    async with up(servers, config) as gateway, aiohttp.ClientSession() as session:
        await gateway.said(READY)
        (line,) = [line for line in gateway.lines if line.startswith("chat: given up: ")]
        assert "does not know --no-such-flag: correct `args`" in line
        assert any(
            line.startswith("warning: chat is given up until the configuration is reloaded: ")
            for line in gateway.lines
        )
        assert await answer(session, base_url(gateway), "other") == 200


async def test_one_that_was_given_up_is_tried_again_with_a_reload(servers: Launches) -> None:
    async with up(servers, two_models(servers, env={"FAKE_VLLM": "settings,ok"})) as gateway:
        await gateway.said(READY)
        assert (await status(gateway)).warnings
        gateway.process.send_signal(signal.SIGHUP)
        async with aiohttp.ClientSession() as session:
            while await answer(session, base_url(gateway), "chat") != 200:
                pass
        assert not (await status(gateway)).warnings


async def test_a_server_given_up_beside_remote_ones_is_tried_again_too(servers: Launches) -> None:
    async with SimulatedReplica(SimOptions("tiny", served_names=("chat",))) as remote:
        models = {"chat": {"launch": {"env": {"FAKE_VLLM": "settings,ok"}}, "replicas": [remote.url]}}
        async with up(servers, write_config(servers, models)) as gateway:
            await gateway.said(READY)
            gateway.process.send_signal(signal.SIGHUP)
            await until(lambda: bool(servers.lines("chat ready")), 30.0)


async def test_when_no_server_can_be_started_it_ends(servers: Launches) -> None:
    config = write_config(servers, {"chat": {"launch": {"env": {"FAKE_VLLM": "settings"}}}})
    done = await command("up", "-c", config, **servers.environment)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("Error: No server could be started")
    servers.wait_gone()


async def test_the_second_start_is_calibrated_and_says_so(servers: Launches) -> None:
    config = two_models(servers)
    for times in (1, 2):
        async with up(servers, config) as gateway:
            await gateway.said(READY)
            gateway.process.send_signal(signal.SIGTERM)
            await gateway.ended()
            calibrated = [line for line in gateway.lines if line.startswith("Calibrated by earlier starts:")]
            assert len(calibrated) == times - 1
    assert "chat, other" in calibrated[0]
    first, second = (_word_after(line, "--kv-cache-memory-bytes") for line in servers.lines("chat begin"))
    assert int(second) < int(first)  # the fake's weights are heavier than the model's
    plan = await command("plan", "-c", config, "--json")
    assert json.loads(plan.out)["instances"][0]["origins"]["weights"] == "measured"
    assert "Measured by earlier starts: chat, other" in (await command("plan", "-c", config)).out


async def test_logs_are_shown_with_their_servers_name_and_followed(servers: Launches) -> None:
    config = two_models(servers, replicas=2)
    async with up(servers, config) as gateway:
        await gateway.said(READY)
        shown = await command("logs", "chat", "-c", config, "-n", "1")
        assert [line.split(" | ")[0] for line in shown.out.splitlines()] == ["chat  ", "chat#2"]
        everything = await command("logs", "-c", config)
        assert any(
            line.startswith("other  | ") and "KV cache" in line for line in everything.out.splitlines()
        )
        async with running("logs", "chat#2", "-f", "-n", "1", "-c", config) as following:
            await following.said("chat#2 | ")
            os.kill(int(servers.lines("chat ready")[1].split()[2]), signal.SIGKILL)
            await following.said("chat#2 | --- ")
            await following.said("Model loading took")
            following.process.send_signal(signal.SIGINT)
            assert await following.ended() == 0


async def test_a_log_that_is_not_there_is_said_with_those_that_are(servers: Launches) -> None:
    config = two_models(servers)
    folder = servers.folder / ".vllm-gateway"
    done = await command("logs", "nobody", "-c", config)
    assert (done.status, done.err) == (1, f"Error: There is no log of nobody in {folder}.\n")
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "chat.log").touch()
    done = await command("logs", "nobody", "-c", config)
    assert done.err == f"Error: There is no log of nobody in {folder}; there are chat.\n"


async def test_what_cannot_be_started_is_said_in_one_sentence(servers: Launches) -> None:
    launch: dict[str, Any] = {"chat": {"launch": {}}}
    nowhere = {"chat": {"launch": {"model": "/nowhere"}}}
    cases: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"vllm_command": ["no-such-vllm"]}, 1, "There is no command no-such-vllm"),
        ({"gpus": [{"memory": "600MiB"}]}, 1, "It does not fit: "),
        ({"models": nowhere}, 2, "chat: /nowhere"),
    )
    for change, code, words in cases:
        config = write_config(servers, **{"models": launch, **change})
        done = await command("up", "-c", config, **servers.environment)
        assert done.status == code
        assert words in done.err
        assert "Traceback" not in done.err
    assert servers.journal() == []


async def test_a_plan_is_printed_as_a_report_as_json_and_as_a_script(servers: Launches) -> None:
    config = two_models(servers)
    report = await command("plan", "-c", config)
    assert report.status == 0
    assert f"serve {servers.model} --served-model-name chat " in report.out
    document = json.loads((await command("plan", "-c", config, "--json")).out)
    assert [instance["model"] for instance in document["instances"]] == ["chat", "other"]
    script = await command("plan", "-c", config, "--shell")
    assert script.out.startswith("#!/usr/bin/env bash\n")
    for options in (("--json", "--shell"), ()):
        wrong = await command("plan", *options, *(("-c", config) if options else ()))
        assert wrong.status == 2


async def test_a_plan_that_does_not_fit_says_what_would_help(servers: Launches) -> None:
    config = write_config(servers, {"chat": {"launch": {}}}, gpus=[{"memory": "600MiB"}])
    done = await command("plan", "-c", config)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("It does not fit: ")
    document = json.loads((await command("plan", "-c", config, "--json")).out)
    assert set(document) == {"error", "suggestions"}


async def test_a_plan_of_nothing_says_so_whatever_the_machine_has(servers: Launches) -> None:
    config = write_config(servers, {"chat": {"replicas": ["http://127.0.0.1:9"]}}, gpus=None)
    done = await command("plan", "-c", config)
    assert (done.status, done.out) == (2, "")
    assert "no model has a `launch` section" in done.err


async def test_a_plan_without_a_gpu_asks_for_a_description(servers: Launches) -> None:
    config = write_config(servers, {"chat": {"launch": {}}}, gpus=None)
    done = await command("plan", "-c", config)
    assert done.status == 1
    assert done.err == (
        "Error: No NVIDIA driver answers on this machine: describe the devices under `gpus`.\n"
    )


def _word_after(line: str, flag: str) -> str:
    words = line.split()
    return words[words.index(flag) + 1]
