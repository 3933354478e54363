"""A worker process, told what to do over its channel."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.fleet.snapshot import Snapshot
from gateway.proxy.channel import Boot, Channel, Picture, Ready, Stop
from gateway.proxy.settings import Settings
from gateway.telemetry.layout import Layout
from gateway.telemetry.scoreboard import Scoreboard
from tests.integration.harness import Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import chat, sim

CHAT = "/v1/chat/completions"
LAYOUT = Layout(workers=2, pools=2, replicas=4)


class WorkerProcess:
    """One worker, from control's side."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: Channel, board: Scoreboard, port: int
    ) -> None:
        self.process = process
        self.channel = channel
        self.board = board
        self.port = port

    def show(self, url: str, number: int = 1) -> None:
        plan = Plan("chat", [url])
        names = {name.name: name for name in plan.names()}
        snapshot = Snapshot(number=number, pools={"chat": plan.pool(0, {url: 0})}, names=names)
        self.channel.send(Picture(snapshot=snapshot))

    async def serves(self, status: int = 200) -> None:
        """Wait until `/health` says so."""
        async with asyncio.timeout(10):
            while (await ask(self.port, "GET", "/health")).status != status:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    async def ended(self, within_s: float = 10.0) -> int:
        async with asyncio.timeout(within_s):
            return await self.process.wait()


@asynccontextmanager
async def worker(**settings: Any) -> AsyncIterator[WorkerProcess]:
    board = Scoreboard.create(LAYOUT)
    listening = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.proxy.worker", "--channel-fd", str(theirs.fileno()),
        pass_fds=(theirs.fileno(), board.fd, listening.fileno()),
    )  # fmt: skip
    theirs.close()
    channel = await Channel.open(ours)
    boot = Boot(
        worker=1,
        workers=LAYOUT.workers,
        pools=LAYOUT.pools,
        replicas=LAYOUT.replicas,
        scoreboard_fd=board.fd,
        listen_fds=(listening.fileno(),),
        settings=Settings(**settings),
    )
    port = listening.getsockname()[1]
    try:
        channel.send(boot)
        ready = await channel.from_worker()
        assert ready == Ready(pid=process.pid)
        # The worker holds it now: the port must close when the worker closes it.
        listening.close()
        yield WorkerProcess(process, channel, board, port)
    finally:
        listening.close()
        channel.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
        board.close()


async def refuses(port: int) -> None:
    """Wait until nobody listens."""
    async with asyncio.timeout(10):
        while True:
            try:
                client = await Client.open(port)
            except ConnectionError:
                return
            client.writer.close()
            await asyncio.sleep(0.01)


async def test_a_worker_serves_by_the_snapshots_it_is_shown_and_logs_each_request(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with sim() as a, sim() as b, worker(access_log=str(log)) as process:
        assert (await ask(process.port, "GET", "/health")).status == 503
        process.show(a.url)
        await process.serves()
        assert (await ask(process.port, "POST", CHAT, chat(), x_request_id="one")).status == 200
        process.show(b.url, number=2)
        process.show(a.url, number=1)  # too old to be believed
        async with asyncio.timeout(5):
            while not b.requests:
                assert (await ask(process.port, "POST", CHAT, chat())).status == 200
        process.channel.send(Stop(grace_s=5))
        assert await process.ended() == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["status"] for line in lines if line["id"] == "one"] == [200]
        assert process.board.outstanding(0) == 0


async def test_told_to_stop_it_accepts_nothing_more_and_lets_what_runs_finish() -> None:
    async with sim() as replica, worker() as process:
        process.show(replica.url)
        await process.serves()
        replica.set_faults(freeze=True)
        async with await Client.open(process.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await until(lambda: replica.running == 1)
            process.channel.send(Stop(grace_s=10))
            await refuses(process.port)
            assert process.process.returncode is None
            replica.clear_faults()
            assert (await client.reply()).end == "complete"
            assert await client.rest() == b""
        assert await process.ended() == 0


@pytest.mark.parametrize("begun", [True, False])
async def test_what_does_not_finish_in_time_is_ended_with_an_error(begun: bool) -> None:  # noqa: FBT001
    async with sim() as replica, worker() as process:
        process.show(replica.url)
        await process.serves()
        replica.set_faults(stall_after_tokens=2 if begun else 0)
        async with await Client.open(process.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await until(lambda: replica.running == 1)
            if begun:
                await client.head()
            process.channel.send(Stop(grace_s=60))
            await refuses(process.port)
            process.channel.send(Stop(grace_s=0.1))  # a second one, in more of a hurry
            assert b'"ServiceUnavailableError"' in await client.rest()
        assert await process.ended() == 0
        await until(lambda: replica.state.aborted == 1)


async def test_when_control_dies_it_frees_the_port_and_finishes_what_runs() -> None:
    async with sim() as replica, worker() as process:
        process.show(replica.url)
        await process.serves()
        replica.set_faults(freeze=True)
        async with await Client.open(process.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await until(lambda: replica.running == 1)
            process.channel.close()
            await refuses(process.port)
            replica.clear_faults()
            assert (await client.reply()).end == "complete"
        assert await process.ended() == 0


async def test_sigterm_is_a_stop_and_ctrl_c_is_left_to_control() -> None:
    async with sim() as replica, worker() as process:
        process.show(replica.url)
        await process.serves()
        process.process.send_signal(signal.SIGINT)
        assert (await ask(process.port, "POST", CHAT, chat())).status == 200
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_an_idle_client_does_not_keep_it_alive() -> None:
    async with sim() as replica, worker() as process:
        process.show(replica.url)
        await process.serves()
        async with await Client.open(process.port) as client:
            assert (await client.ask("POST", CHAT, chat())).status == 200
            process.channel.send(Stop(grace_s=30))
            assert await client.rest() == b""
            assert await process.ended() == 0
