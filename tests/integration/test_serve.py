"""`vllm-gateway serve` as its users start and stop it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from gateway.control.admin.status import Status
from gateway.sim import SimOptions, SimulatedReplica
from tests.integration.commands import DEADLINE_S, Running, closed_port, command, running

FREE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "1")
REPLICA = SimOptions(model="chat", adapters=(("chat-sql", "adapters/sql"),))


def url_in(gateway: Running, beginning: str) -> str:
    (line,) = [line for line in gateway.lines if line.startswith(beginning)]
    return next(word for word in line.split() if word.startswith("http://"))


async def test_it_says_what_was_found_and_where_to_point_a_client() -> None:
    gone = f"http://127.0.0.1:{closed_port()}"
    async with SimulatedReplica(REPLICA) as replica, running("serve", replica.url, gone, *FREE) as gateway:
        await gateway.said("clients:")
        assert "model chat: 1 of 1 replica up, also chat-sql" in gateway.lines
        assert f"replica {replica.url}: up, serves chat, chat-sql" in gateway.lines
        assert f"replica {gone}: refused (connection refused)" in gateway.lines
        listens = url_in(gateway, "vllm-gateway ")
        assert gateway.lines[-1] == f"clients: export OPENAI_BASE_URL={listens}/v1"
        admin = url_in(gateway, "admin ").removeprefix("http://")
        done = await command("status", "--json", "--admin", admin)
        document = msgspec.json.decode(done.out, type=Status)
        assert {each.url: each.condition for each in document.replicas} == {
            replica.url: "up",
            gone: "refused",
        }
        assert document.workers[0].pid is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_and_sigterm_end_it_with_status_0(number: signal.Signals) -> None:
    async with SimulatedReplica(REPLICA) as replica, running("serve", replica.url, *FREE) as gateway:
        await gateway.said("clients:")
        if number is signal.SIGINT:
            gateway.signal_group(number)
        else:
            gateway.process.send_signal(number)
        assert await gateway.ended() == 0
        await gateway.all_gone()
        assert "Traceback" not in await gateway.errors()


@contextmanager
def terminal() -> Iterator[tuple[int, list[str]]]:
    """The keyboard's side of a terminal, and a command that runs the words after it inside that terminal."""
    ours, theirs = os.openpty()
    inside = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
    try:
        yield ours, [sys.executable, "-c", inside, str(theirs)]
    finally:
        os.close(theirs)


async def until_it_says(terminal: int, text: bytes) -> None:
    seen = b""
    async with asyncio.timeout(DEADLINE_S):
        while text not in seen:
            seen += await asyncio.to_thread(os.read, terminal, 4096)


async def test_a_terminal_that_is_closed_takes_it_along_and_its_workers_in_order() -> None:
    async with SimulatedReplica(REPLICA) as replica:
        with terminal() as (ours, inside):
            serve = (sys.executable, "-m", "gateway", "serve", replica.url, *FREE)
            process = await asyncio.create_subprocess_exec(*inside, *serve, pass_fds=[int(inside[-1])])
            try:
                await until_it_says(ours, b"OPENAI_BASE_URL")
                os.close(ours)
                async with asyncio.timeout(DEADLINE_S):
                    assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()


async def test_a_hang_up_of_the_whole_group_costs_no_worker() -> None:
    async with SimulatedReplica(REPLICA) as replica, running("serve", replica.url, *FREE) as gateway:
        await gateway.said("clients:")
        gateway.signal_group(signal.SIGHUP)
        admin = url_in(gateway, "admin ").removeprefix("http://")
        gateway.process.send_signal(signal.SIGHUP)
        done = await command("status", "--json", "--admin", admin)
        (worker,) = msgspec.json.decode(done.out, type=Status).workers
        assert (worker.pid is not None, worker.restarts) == (True, 0)


async def test_a_file_is_served_and_options_go_before_it(tmp_path: Path) -> None:
    async with SimulatedReplica(REPLICA) as replica:
        file = tmp_path / "gateway.yaml"
        file.write_text(
            f"listen: 127.0.0.1:1\nmodels: {{chat: {{replicas: ['{replica.url}'], aliases: [gpt-4o]}}}}\n"
        )
        async with running("serve", "-c", str(file), *FREE) as gateway:
            await gateway.said("clients:")
            assert "model chat: 1 of 1 replica up, also gpt-4o, chat-sql" in gateway.lines
            models = f"{url_in(gateway, 'vllm-gateway ')}/v1/models"
            async with ClientSession() as session, session.get(models) as response:
                assert {model["id"] for model in (await response.json())["data"]} == {
                    "chat",
                    "gpt-4o",
                    "chat-sql",
                }


async def test_clients_need_a_key_of_the_file_and_no_key_is_printed(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# the web shop\nsk-web-shop\n")
    async with SimulatedReplica(REPLICA) as replica:
        file = tmp_path / "gateway.yaml"
        file.write_text(f"client_keys_file: keys\nlog_level: debug\nreplicas: ['{replica.url}']\n")
        async with running("serve", "-c", str(file), *FREE) as gateway, ClientSession() as session:
            await gateway.said("clients:")
            models = f"{url_in(gateway, 'vllm-gateway ')}/v1/models"
            for key, status in (("sk-web-shop", 200), ("sk-web-sho", 401)):
                async with session.get(models, headers={"Authorization": f"Bearer {key}"}) as response:
                    assert response.status == status
            gateway.process.send_signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            assert "sk-web" not in "\n".join(gateway.lines) + await gateway.errors()


@pytest.mark.parametrize("option", ["--listen", "--admin"])
async def test_a_port_in_use_is_said_with_who_has_it(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        done = await command("serve", "http://127.0.0.1:1", *FREE, option, address)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"Error: {address} is in use")
    if sys.platform == "linux":
        assert f" by process {os.getpid()} (" in done.err
    assert done.err.endswith(f"; choose another address with {option}.\n")
    assert len(done.err.splitlines()) == 1


async def test_a_configuration_with_errors_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("workers: 0\nreplicas: [http://10.0.0.1:8000]\n")
    done = await command("serve", "-c", str(file))
    assert (done.status, done.out) == (2, "")
    assert done.err == f"{file}:1: workers: 0 is neither auto nor a number from 1 up\n"


async def test_a_secret_that_is_missing_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("admin_token_env: NOT_THERE\nreplicas: [http://10.0.0.1:8000]\n")
    done = await command("serve", "-c", str(file))
    assert done.status == 2
    assert done.err == f"{file}: admin_token_env: the environment variable NOT_THERE is not set\n"


async def test_a_url_that_is_none_is_said() -> None:
    done = await command("serve", "10.0.0.1:8000")
    assert done.status == 2
    assert done.err.startswith("command line: replicas[0].url: '10.0.0.1:8000' is not an http or https URL")
