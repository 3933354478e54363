"""Simulated replicas as processes, and what can be done to them."""

import asyncio
import math
import random
import signal
import socket
import time
from dataclasses import replace
from typing import Any

import aiohttp

from gateway.sim import EngineLimits, ReplicaProcess, SimOptions, spawn
from tests.chaos.questions import ADAPTERS

ENGINE = EngineLimits(step_s=0.006, prefill_tokens_per_s=0, max_num_seqs=64)

_FIRST_EPHEMERAL = 32_768
"""Linux takes the ports of outgoing connections from here up, if nobody has told it otherwise."""


def quiet_port(taken: set[int]) -> int:
    """A free port that no outgoing connection will take while its replica is down."""
    while True:
        port = random.randrange(10_000, _FIRST_EPHEMERAL)
        with socket.socket() as sock:
            if port not in taken and sock.connect_ex(("127.0.0.1", port)) != 0:
                taken.add(port)
                return port


class Replica:
    """One replica. `struck` while a fault has it, and until the gateway trusts it again."""

    def __init__(self, model: str, port: int, session: aiohttp.ClientSession) -> None:
        adapter = ADAPTERS[model]
        self.model = model
        self._strikes: list[tuple[float, float]] = []
        self._struck_at: float | None = None
        self._session = session
        self._options = SimOptions(model, adapters=((adapter, f"loras/{adapter}"),), port=port, engine=ENGINE)
        self._process: ReplicaProcess = spawn(self._options)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._options.port}"

    @property
    def struck(self) -> bool:
        return self._struck_at is not None

    def begin_strike(self) -> None:
        """From now on it need not answer."""
        self._struck_at = time.monotonic()

    def end_strike(self) -> None:
        """It is well again, and known to be."""
        assert self._struck_at is not None
        self._strikes.append((self._struck_at, time.monotonic()))
        self._struck_at = None

    def was_well(self, began: float, ended: float) -> bool:
        """Whether nothing was wrong with it in all that time, in seconds of the monotonic clock."""
        strikes = [*self._strikes, (self._struck_at, math.inf)] if self._struck_at else self._strikes
        return not any(since < ended and began < until for since, until in strikes)

    async def start(self, *, adapters: bool = True) -> None:
        """Start the process, after a loss of its adapters where it should have none."""
        self._process = spawn(self._options if adapters else replace(self._options, adapters=()))
        await self._process.start()

    async def kill(self) -> None:
        await self._process.kill()

    async def restart(self, down_s: float, *, adapters: bool = True) -> None:
        await self.kill()
        await asyncio.sleep(down_s)
        await self.start(adapters=adapters)

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP for a while: nothing answers, nothing refuses."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    async def load_adapter(self) -> None:
        name = ADAPTERS[self.model]
        await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": f"loras/{name}"})

    async def set_faults(self, faults: dict[str, Any]) -> None:
        await self._post("/sim/faults", faults)

    async def clear_faults(self) -> None:
        async with self._session.delete(f"{self.url}/sim/faults") as response:
            response.raise_for_status()

    async def running(self) -> int:
        """Generate requests that have not ended there."""
        async with self._session.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("vllm:num_requests_"))

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with self._session.post(self.url + path, json=body) as response:
            response.raise_for_status()
