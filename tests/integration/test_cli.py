"""The commands as people run them: exit status, and every sentence as text."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from gateway.config import Address
from gateway.control.admin.guard import Access
from gateway.control.admin.listener import start
from gateway.control.admin.status import Status
from gateway.telemetry.families import OUTSTANDING
from gateway.telemetry.layout import REPLICA_OFFSETS
from gateway.telemetry.scoreboard import Scoreboard
from tests.integration.commands import DEADLINE_S, closed_port, command, running
from tests.integration.plain_fleet import LAYOUT, A, B, Fleet, fleet_of_three
from tests.integration.sim_client import until

TOKEN = "open sesame"
ADDRESS_HINT = 'write 127.0.0.1:8000, :8000 for all interfaces, or "[::1]:8000" in quotes'
TOKEN_ENV = "VLLM_GATEWAY_ADMIN_TOKEN"


@dataclass
class Asked:
    """An admin listener in this process, and its fleet."""

    fleet: Fleet
    admin: str


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    board = Scoreboard.create(LAYOUT)
    fleet = fleet_of_three(board)
    listening = socket.create_server(("127.0.0.1", 0))
    address = Address("127.0.0.1", listening.getsockname()[1])
    runner = await start(fleet, Access(address, TOKEN), listening)
    yield Asked(fleet, str(address))
    await runner.cleanup()
    board.close()


# -- help and usage --


async def test_help_lists_the_commands_with_examples() -> None:
    done = await command("--help")
    assert done.status == 0
    assert "vllm-gateway serve http://10.0.0.1:8000 http://10.0.0.2:8000" in done.out
    for name in ("serve", "demo", "check", "simulate", "status", "drain", "undrain"):
        assert re.search(rf"^  {name} +[A-Z].*\.$", done.out, re.MULTILINE), name


async def test_the_version_is_told() -> None:
    assert re.fullmatch(r"vllm-gateway [0-9.a-z]+\n", (await command("--version")).out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nope",), "Error: No such command 'nope'."),
        (("check",), "Error: Say which file to check: -c gateway.yaml"),
        (("status", "--json", "--watch"), "Error: Give --json or --watch, not both."),
        (
            ("status", "--admin", "nowhere"),
            f"Error: --admin: 'nowhere' is not an address; {ADDRESS_HINT}.",
        ),
        (("drain",), "Error: Missing argument 'URL'."),
        (("serve",), "Error: Say where the servers are: their URLs, or -c gateway.yaml."),
        (("serve", "-c", "x.yaml", A), "Error: Give URLs or -c FILE, not both."),
        (("serve", A, "--listen", "x"), f"Error: --listen: 'x' is not an address; {ADDRESS_HINT}."),
        (
            ("serve", A, "--workers", "0"),
            "Error: Invalid value for '--workers': '0' is neither auto nor a number from 1 up.",
        ),
    ],
)
async def test_what_is_typed_wrong_is_said_in_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = await command(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1] == sentence


async def test_simulate_takes_the_simulations_own_options() -> None:
    assert "--max-num-seqs" in (await command("simulate", "--help")).out
    done = await command("simulate", "--model", "m", "--fault", "nonsense=1")
    assert done.status == 2
    assert "Traceback" not in done.err


# -- check --


async def test_a_valid_file_is_retold_in_short(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        """
replicas: [http://10.0.0.9:8000]
models:
  qwen3-8b:
    replicas: [http://10.0.0.1:8000, {url: http://10.0.0.2:8000, weight: 2, api_key_env: QWEN_KEY}]
    aliases: [gpt-4o-mini]
"""
    )
    done = await command("check", "-c", str(file), QWEN_KEY="")
    key = "models.qwen3-8b.replicas[1].api_key_env"
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{file} is valid: 1 model, 3 replicas.",
        "  listens on 127.0.0.1:8000, admin on 127.0.0.1:9090, workers: auto",
        "  qwen3-8b (also gpt-4o-mini): http://10.0.0.1:8000, http://10.0.0.2:8000 (weight 2)",
        "  to be discovered: http://10.0.0.9:8000",
        f"note: {file}: {key}: the environment variable QWEN_KEY is empty; serving needs it.",
    ]


async def test_every_error_of_a_file_is_shown_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("workers: none\nreplicas: [ftp://x]\nlisten_on: 3\n")
    done = await command("check", "-c", str(file))
    assert (done.status, done.out) == (2, "")
    lines = done.err.splitlines()
    assert [line.removeprefix(str(file)).split(" ")[0] for line in lines] == [":1:", ":2:", ":3:"]
    assert "did you mean" in lines[2]


async def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = await command("check", "-c", str(tmp_path / "none.yaml"))
    assert (done.status, done.err) == (2, f"{tmp_path}/none.yaml: there is no such file\n")


# -- asking a running gateway --


@pytest.mark.parametrize("arguments", [("status",), ("drain", A), ("undrain", A)])
async def test_where_no_gateway_runs_it_says_so(arguments: tuple[str, ...]) -> None:
    admin = f"127.0.0.1:{closed_port()}"
    done = await command(*arguments, "--admin", admin)
    assert (done.status, done.out) == (1, "")
    assert done.err == f"Error: No gateway answers on {admin} (connection refused): is it running there?\n"


async def test_status_shows_pools_and_replicas(asked: Asked) -> None:
    done = await command("status", "--admin", asked.admin, **{TOKEN_ENV: TOKEN})
    assert (done.status, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert any(line.startswith("chat gpt-4o, chat-sql, sql 2 of 2 ") for line in lines)
    assert any(line.startswith(f"{B} - refused (HTTP 200) ") for line in lines)


async def test_status_as_json_is_the_api_document(asked: Asked) -> None:
    done = await command("status", "--json", "--admin", asked.admin, "--token-env", "T", T=TOKEN)
    assert msgspec.json.decode(done.out, type=Status).replicas[0].url == A


async def test_watching_goes_on_until_ctrl_c(asked: Asked) -> None:
    async with running("status", "--watch", "--admin", asked.admin, **{TOKEN_ENV: TOKEN}) as watching:
        await until(lambda: asked.fleet.asked >= 2, DEADLINE_S)
        watching.process.send_signal(signal.SIGINT)
        await watching.said(B)
        assert await watching.ended() == 0
        assert await watching.errors() == ""


async def test_a_missing_token_is_said(asked: Asked) -> None:
    done = await command("status", "--admin", asked.admin)
    assert done.status == 1
    assert done.err == (
        f"Error: The gateway on {asked.admin} wants its admin token: "
        "name the variable that holds it with --token-env.\n"
    )


async def test_drain_says_what_still_runs_and_undrain_takes_it_back(asked: Asked) -> None:
    cell = LAYOUT.replica(0, 0) + REPLICA_OFFSETS[OUTSTANDING.name]
    options = ("--admin", asked.admin)
    asked.fleet.board.cells[cell] = 2
    done = await command("drain", A, *options, **{TOKEN_ENV: TOKEN})
    assert (done.status, done.out) == (0, f"{A} gets no new requests; 2 requests still run.\n")
    asked.fleet.board.cells[cell] = 0
    done = await command("drain", A.removeprefix("http://"), *options, **{TOKEN_ENV: TOKEN})
    assert done.out == f"{A} gets no new requests and is empty.\n"
    done = await command("undrain", A, *options, **{TOKEN_ENV: TOKEN})
    assert done.out == f"{A} takes requests again.\n"
    done = await command("drain", "http://10.9.9.9:1", *options, **{TOKEN_ENV: TOKEN})
    assert done.status == 1
    assert done.err.startswith("Error: No replica has the URL http://10.9.9.9:1; known: ")


async def test_something_else_on_the_port_is_not_taken_for_a_gateway() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        admin = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done = await command("status", "--admin", admin)
    assert done.status == 1
    assert done.err.startswith(f"Error: {admin} does not answer like a gateway")
    assert "Traceback" not in done.err


def test_a_pipe_that_closes_early_is_no_error() -> None:
    line = f"set -o pipefail; {sys.executable} -m gateway --help | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout == "Usage: vllm-gateway [OPTIONS] COMMAND [ARGS]...\n"
    assert done.stderr == ""


def test_check_prints_the_schema_of_the_configuration() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "--schema"], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)["properties"]) >= {"listen", "models", "replicas"}
