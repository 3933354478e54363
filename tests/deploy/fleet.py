"""Models behind a gateway, each with the trouble that one alert is about, and clients that use them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from gateway.sim import EngineLimits, SimOptions
from gateway.sim.replica import ReplicaProcess, spawn
from tests.integration.commands import Running, closed_port, running

WORKERS = 2
REPLICAS = {"well": 1, "chat": 3, "lonely": 1, "slow": 1, "brittle": 1, "crowded": 1}
STEP_S = {"crowded": 0.05}
OPTIONS: Mapping[str, dict[str, Any]] = {
    "brittle": {"resume": "off"},
    "crowded": {"limits": {"outstanding_per_replica": 2, "queue": 40}},
}


class Fleet:
    """The replicas of all models, by model."""

    def __init__(self, session: aiohttp.ClientSession, replicas: Mapping[str, list[ReplicaProcess]]) -> None:
        self._session = session
        self.replicas = replicas

    @property
    def addresses(self) -> set[str]:
        return {f"127.0.0.1:{each.port}" for replicas in self.replicas.values() for each in replicas}

    async def break_(self, model: str, number: int = 0, **faults: Any) -> None:
        """Set faults of one replica."""
        url = f"{self.replicas[model][number].url}/sim/faults"
        async with self._session.post(url, json=faults) as response:
            assert response.status == 200, await response.text()

    async def mend(self, model: str, number: int = 0) -> None:
        """Clear the faults of one replica."""
        async with self._session.delete(f"{self.replicas[model][number].url}/sim/faults") as response:
            assert response.status == 200


@asynccontextmanager
async def fleet(session: aiohttp.ClientSession) -> AsyncIterator[Fleet]:
    """All replicas, as processes."""
    async with AsyncExitStack() as stack:
        replicas = {
            model: [
                await stack.enter_async_context(spawn(SimOptions(model, engine=_engine(model))))
                for _ in range(count)
            ]
            for model, count in REPLICAS.items()
        }
        yield Fleet(session, replicas)


def _engine(model: str) -> EngineLimits:
    return EngineLimits(step_s=STEP_S.get(model, 0.01), prefill_tokens_per_s=0)


class Gateway:
    """A gateway that can be stopped and started again at the same addresses."""

    def __init__(self, folder: Path, replicas: Mapping[str, list[ReplicaProcess]]) -> None:
        self.listen, self.admin = (f"127.0.0.1:{closed_port()}" for _ in range(2))
        self._file = folder / "gateway.yaml"
        models = {
            model: {"replicas": [each.url for each in of], **OPTIONS.get(model, {})}
            for model, of in replicas.items()
        }
        config = {
            "listen": self.listen,
            "admin": self.admin,
            "workers": WORKERS,
            "shutdown_grace": "1s",
            "ejection": {"base": "1s", "max": "1s", "panic_threshold": 0.1},
            "models": models,
        }
        self._file.write_text(yaml.safe_dump(config))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Running]:
        async with running("serve", "-c", str(self._file)) as gateway:
            await gateway.said("admin and metrics on")
            yield gateway


class Clients:
    """Who asks, again and again, until `leave`."""

    def __init__(self, session: aiohttp.ClientSession, listen: str) -> None:
        self.session = session
        self._url = f"http://{listen}/v1/chat/completions"
        self._tasks: list[asyncio.Task[None]] = []

    def come(self, model: str, count: int, pause_s: float = 0.1) -> None:
        """More clients for a model, each with a pause between its requests."""
        self._tasks += [asyncio.create_task(self._ask(model, pause_s)) for _ in range(count)]

    async def leave(self) -> None:
        """All of them, in the middle of whatever they do."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _ask(self, model: str, pause_s: float) -> None:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 20,
            "stream": True,
        }
        while True:
            with suppress(aiohttp.ClientError):
                async with self.session.post(self._url, json=body) as response:
                    await response.read()
            await asyncio.sleep(pause_s)


async def worker_pids(session: aiohttp.ClientSession, admin: str) -> list[int]:
    """The worker processes of the gateway at this admin address."""
    async with session.get(f"http://{admin}/api/status") as response:
        status = await response.json()
    return [worker["pid"] for worker in status["workers"] if worker["pid"]]


async def starve(pid: int) -> None:
    """Let a process run for a sixth of the time, until cancelled: as on a machine that is too busy."""
    try:
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
