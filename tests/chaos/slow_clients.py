"""Clients that are slow on purpose, or only there: what do the others notice?

    python -m tests.chaos.slow_clients                     # needs slowhttptest (apt install slowhttptest)
    python -m tests.chaos.slow_clients --idle 0            # without the 10,000 idle connections

Prints the p99 of other clients' small requests undisturbed, under each attack, and beside idle connections,
and what an idle connection takes of the gateway's memory. Exits 1 when a p99 is more than twice the
undisturbed one, or a request failed.
"""

import asyncio
import contextlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click
import uvloop
from rich.console import Console
from rich.table import Table

from gateway.sim import EngineLimits, SimOptions, spawn
from loadtests.bench.procfs import pss_bytes
from tests.chaos.front import Front, serving
from tests.integration.sim_client import Client
from tests.integration.stand_ins import chat

MODEL = "alpha"
ATTACKS = {
    "slow headers": "-H -i 10 -t GET -x 24",
    "slow bodies": "-B -i 10 -t POST -s 8192 -x 10",
    "slow readers": "-X -w 64 -y 512 -n 5 -z 16 -k 3",
}
IDLE = "idle connections"
PATHS = {"slow bodies": "/v1/chat/completions"}
CLIENTS, PAUSE_S = 4, 0.02
WORST_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the other clients saw meanwhile; times in seconds. `held` are connections, at their most.

    `memory_bytes` is that of all processes of the gateway at the end.
    """

    situation: str
    held: int
    latencies: list[float]
    failed: int
    memory_bytes: int

    @property
    def p50_s(self) -> float:
        return statistics.median(self.latencies)

    @property
    def p99_s(self) -> float:
        return statistics.quantiles(self.latencies, n=100)[98]


async def watch(front: Front, situation: str, seconds: float) -> Seen:
    """Ask as ordinary clients do, and count the connections that are open beside."""
    latencies: list[float] = []
    failed = held = 0
    ends = time.monotonic() + seconds

    async def ordinary() -> None:
        nonlocal failed
        async with await Client.open(front.port) as client:
            while time.monotonic() < ends:
                began = time.monotonic()
                reply = await client.ask("POST", "/v1/chat/completions", chat(model=MODEL, max_tokens=2))
                latencies.append(time.monotonic() - began)
                failed += reply.status != 200
                await asyncio.sleep(PAUSE_S)

    asking = asyncio.gather(*(ordinary() for _ in range(CLIENTS)))
    while not asking.done():
        held = max(held, (await front.metrics()).total("client_connections") - CLIENTS)
        await asyncio.wait((asking,), timeout=1.0)
    await asking
    return Seen(situation, held, latencies, failed, pss_bytes(front.running.process.pid))


@asynccontextmanager
async def attack(front: Front, name: str, connections: int, seconds: float) -> AsyncIterator[None]:
    """slowhttptest, from the moment at which all its connections may be open."""
    url = f"http://127.0.0.1:{front.port}{PATHS.get(name, '/v1/models')}"
    arguments = f"-c {connections} -r 500 -p 3 -l {seconds + 10:.0f} {ATTACKS[name]} -u {url}"
    # An attacker's own work is done elsewhere: on this machine it must not take the gateway's CPU.
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "19", "slowhttptest"),
        *arguments.split(),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        await asyncio.sleep(connections / 500 + 1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def idle(front: Front, connections: int) -> AsyncIterator[None]:
    """Connections on which nothing is ever said."""
    writers = []
    for _ in range(connections):
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writers.append(writer)
    try:
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def measure(connections: int, idle_connections: int, seconds: float) -> list[Seen]:
    """The undisturbed figure, then each disturbance."""
    options = SimOptions(MODEL, engine=EngineLimits(step_s=0.001, prefill_tokens_per_s=0))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            aiohttp.ClientSession() as session,
            spawn(options) as replica,
            serving(Path(folder), session, {MODEL: [replica.url]}, 1) as front,
        ):
            situations: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {}
            if idle_connections:  # first, while no attack has left memory behind that they could take
                situations[IDLE] = lambda: idle(front, idle_connections)
            if shutil.which("slowhttptest"):
                for name in ATTACKS:
                    situations[name] = lambda name=name: attack(front, name, connections, seconds)  # type: ignore[misc]
            await watch(front, "warm-up", 2.0)
            seen = [await watch(front, "undisturbed", seconds)]
            for name, disturbing in situations.items():
                async with disturbing():
                    seen.append(await watch(front, name, seconds))
            return seen


def show(seen: list[Seen], console: Console) -> bool:
    """Print the table. False when somebody was disturbed."""
    calm = seen[0].p99_s
    table = Table("", "connections held", "requests", "failed", "p50 ms", "p99 ms", "of undisturbed")
    for each in seen:
        numbers = (each.held, len(each.latencies), each.failed)
        times = (f"{each.p50_s * 1000:.2f}", f"{each.p99_s * 1000:.2f}", f"{each.p99_s / calm:.2f}")
        table.add_row(each.situation, *map(str, numbers), *times)
    console.print(table)
    for each in seen:
        if each.situation == IDLE:
            more = (each.memory_bytes - seen[0].memory_bytes) / each.held
            console.print(f"an idle connection takes {more / 1024:.1f} KiB of the gateway's memory")
    return all(each.p99_s <= WORST_RATIO * calm and not each.failed for each in seen)


@click.command()
@click.option("--connections", default=1000, show_default=True, help="Of each attack.")
@click.option("--idle", "idle_connections", default=10_000, show_default=True)
@click.option("--seconds", default=15.0, show_default=True, help="Of each measurement.")
def main(connections: int, idle_connections: int, seconds: float) -> None:
    """Measure what slow and idle clients cost the others."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    console = Console(width=120)
    if not shutil.which("slowhttptest"):
        console.print("slowhttptest is not installed: its three attacks are left out")
    undisturbed = show(uvloop.run(measure(connections, idle_connections, seconds)), console)
    sys.exit(not undisturbed)


if __name__ == "__main__":
    main()
