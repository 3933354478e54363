"""The run: load and faults side by side until there was enough of both, then the reckoning."""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from tests.chaos.client import Client
from tests.chaos.faults import Fault, schedule, strike
from tests.chaos.front import PENALTY_S, Front, serving
from tests.chaos.ledger import Ledger
from tests.chaos.questions import ADAPTERS, draw
from tests.chaos.reckoning import reckon
from tests.chaos.replicas import Replica, quiet_port

LEAVES = 0.04
"""Share of the clients that hang up before their answer is there."""

HEALED_WITHIN_S = 60.0
"""How long after the last fault all replicas must be up again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what. `pause_s` is the mean time between two faults of one model."""

    seed: int = 1
    requests: int = 10_000
    faults: int = 500
    workers: int = 3
    replicas: int = 3
    clients: int = 40
    kill_worker_every: int = 40
    pause_s: float = 0.35


@dataclass
class Outcome:
    """What the run left behind. `findings` are what must not be."""

    plan: Plan
    ledger: Ledger = field(default_factory=Ledger)
    faults: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)
    """Findings as well: requests that failed although a replica of their pool had no fault meanwhile."""
    seconds: float = 0.0
    counted: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Lines of the access log: requests that a replica's fault kept from being complete."""


class Storm:
    """Everything that runs at the same time."""

    def __init__(self, plan: Plan, front: Front, replicas: list[Replica]) -> None:
        self.outcome = Outcome(plan)
        self._plan = plan
        self._front = front
        self._replicas = replicas
        self._rng = Random(plan.seed)
        self._well: set[str] = set()
        self._calm = asyncio.Event()

    async def run(self) -> Outcome:
        began = time.monotonic()
        baseline = await self._front.descriptors()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            for number in range(self._plan.clients):
                group.create_task(self._be_a_client(Random(f"{self._plan.seed} {number}")))
            async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as strikes:
                await self._torment(strikes)
                patience.reschedule(asyncio.get_running_loop().time() + HEALED_WITHIN_S)
            # Not before: what was ejected comes back through a request that tries it.
            self._calm.set()
            watching.cancel()
        self.outcome.seconds = time.monotonic() - began
        await reckon(self.outcome, self._front, self._replicas, baseline)
        return self.outcome

    # -- the load --

    async def _be_a_client(self, rng: Random) -> None:
        client = Client(self._front.port)
        while not self._calm.is_set() or len(self.outcome.ledger) < self._plan.requests:
            question = draw(rng)
            leaves = rng.randint(0, 10) if rng.random() < LEAVES else None
            heard = await client.ask(question, leaves)
            self.outcome.ledger.enter(question, heard, left=leaves is not None)
        client.close()

    # -- the faults --

    async def _watch(self) -> None:
        """Know what the gateway thinks: a replica that is healed is not yet trusted."""
        while True:
            self._well = await self._front.well()
            await asyncio.sleep(0.05)

    async def _torment(self, strikes: asyncio.TaskGroup) -> None:
        models = tuple(ADAPTERS)
        for number, fault in enumerate(schedule(self._plan.seed, self._plan.faults, models), 1):
            replica = await self._victim(fault)
            replica.begin_strike()
            strikes.create_task(self._strike(fault, replica))
            self.outcome.faults[fault.kind] += 1
            if number % self._plan.kill_worker_every == 0:
                await self._kill_a_worker()
            await asyncio.sleep(self._rng.expovariate(len(models) / self._plan.pause_s))

    async def _victim(self, fault: Fault) -> Replica:
        """One that is well, as long as another one stays well."""
        while True:
            mine = [replica for replica in self._replicas if replica.model == fault.model]
            well = [r for r in mine if not r.struck and r.url in self._well]
            if len(well) > 1:
                return self._rng.choice(well)
            await asyncio.sleep(0.02)

    async def _strike(self, fault: Fault, replica: Replica) -> None:
        await strike(fault, replica)
        # The status may still be the one from before the fault: two looks later it is not.
        await asyncio.sleep(0.2)
        while replica.url not in self._well:  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.05)
        # Up, but doubted: its last failure is held against it for a moment.
        await asyncio.sleep(PENALTY_S)
        replica.end_strike()

    async def _kill_a_worker(self) -> None:
        pids = await self._front.worker_pids()
        self.outcome.faults["SIGKILL of a worker"] += 1
        self.outcome.ledger.kills.append(time.monotonic())
        os.kill(self._rng.choice(pids), signal.SIGKILL)


async def storm(plan: Plan) -> Outcome:
    """Run it all, on free ports of this machine."""
    taken: set[int] = set()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Replicas close what idles; a fault that is set just then would be lost.
        connector = aiohttp.TCPConnector(force_close=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        replicas = [
            Replica(model, quiet_port(taken), session) for model in ADAPTERS for _ in range(plan.replicas)
        ]
        for replica in replicas:
            stack.push_async_callback(replica.kill)
        await asyncio.gather(*(replica.start() for replica in replicas))
        pools = {model: [r.url for r in replicas if r.model == model] for model in ADAPTERS}
        front = await stack.enter_async_context(serving(folder, session, pools, plan.workers))
        outcome = await Storm(plan, front, replicas).run()
        log = (folder / "gateway.log").read_text()
        if "Traceback" in log:
            outcome.findings.append(
                "a traceback in the gateway's log:\n" + log[log.index("Traceback") :][:3000]
            )
        return outcome
