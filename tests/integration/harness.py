"""Data planes in this process, in front of replicas, routed by a snapshot made by hand.

No control process: a test says what is up and what is not. `Front` checks at its end that nothing is left
over, so each test is also a test of that.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Self

from gateway.fleet.snapshot import (
    Ejection,
    Limits,
    ModelName,
    Pool,
    Replica,
    ResumeMode,
    Retries,
    Snapshot,
    State,
    Timeouts,
)
from gateway.proxy.deadlines import SWEEP_S, Deadlines
from gateway.proxy.dispatch import Dispatcher
from gateway.proxy.front import FrontServer
from gateway.proxy.gateway import Gateway
from gateway.proxy.live import LiveFleet
from gateway.proxy.outcome import Failure
from gateway.proxy.settings import Settings
from gateway.telemetry import families, sums
from gateway.telemetry.layout import Layout
from gateway.telemetry.meters import WorkerMeter
from gateway.telemetry.record import RequestRecord
from gateway.telemetry.scoreboard import Scoreboard
from tests.integration.sim_client import until

POOLS, REPLICAS = 4, 16
NO_PENALTY = Ejection(consecutive_failures=10_000, penalty_s=0)
"""For tests in which failures must not move the traffic."""


@dataclass(frozen=True)
class Plan:
    """A pool as a test writes it down. `adapters` says which URLs have which; all other facts are by URL."""

    name: str
    urls: Sequence[str]
    aliases: Sequence[str] = ()
    adapters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    states: Mapping[str, State] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    draining: Sequence[str] = ()
    unread: Sequence[str] = ()
    """Replicas whose models were never read."""
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    priority_header: str | None = None
    resume: ResumeMode = ResumeMode.OFF

    def pool(self, slot: int, slots: Mapping[str, int]) -> Pool:
        replicas = tuple(
            Replica(
                id=url,
                slot=slots[url],
                weight=self.weights.get(url, 1.0),
                state=self.states.get(url, State.UP),
                draining=url in self.draining,
                models=self._models(url),
                authorization=self.keys.get(url),
            )
            for url in self.urls
        )
        return Pool(
            name=self.name,
            slot=slot,
            replicas=replicas,
            limits=self.limits,
            timeouts=self.timeouts,
            priority_header=self.priority_header,
            resume=self.resume,
        )

    def _models(self, url: str) -> frozenset[str]:
        if url in self.unread:
            return frozenset()
        return frozenset({self.name} | {name for name, urls in self.adapters.items() if url in urls})

    def names(self) -> list[ModelName]:
        base = [self.name, *self.aliases]
        return [
            *(ModelName(name=n, pool=self.name, upstream=self.name, listed=True) for n in base),
            *(
                ModelName(name=n, pool=self.name, upstream=n, parent=self.name, listed=True)
                for n in self.adapters
            ),
        ]


class DataPlane:
    """What a worker process is made of, without the process."""

    def __init__(
        self, board: Scoreboard, number: int, settings: Settings, observer: Callable[..., None]
    ) -> None:
        meter = WorkerMeter(board, number)
        self.fleet = LiveFleet(board, number, Random(number))
        self.deadlines = Deadlines(hang_s=settings.hang_s)
        self.gateway = Gateway(settings, self.fleet, Dispatcher(self.fleet, self.deadlines), meter, observer)
        self.front = FrontServer(self.gateway.handle, meter, settings)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.front, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeping = loop.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.deadlines.sweep()
            self.fleet.sweep(time.monotonic())
            self.front.sweep(time.monotonic())

    async def stop(self) -> None:
        assert self._server is not None
        assert self._sweeping is not None
        self._server.close()
        self.front.drain()
        self.deadlines.fail_all(Failure.SHUTDOWN, "the test is over")
        await self.front.close(timeout_s=1.0)
        self._sweeping.cancel()
        for pool in self.fleet.pools.values():
            pool.close()


class Front:
    """A gateway of some workers: ``async with Front(Plan("chat", [replica.url])) as front``."""

    def __init__(
        self,
        *plans: Plan,
        workers: int = 1,
        settings: Settings | None = None,
        ejection: Ejection = NO_PENALTY,
        retries: Retries | None = None,
    ) -> None:
        self._plans = plans
        self._ejection = ejection
        self._retries = retries or Retries()
        self._slots: dict[str, int] = {}
        self._number = 0
        self.board = Scoreboard.create(Layout(workers=workers, pools=POOLS, replicas=REPLICAS))
        self.records: list[RequestRecord] = []
        settings = settings or Settings()
        self.planes = [DataPlane(self.board, n, settings, self.records.append) for n in range(workers)]

    async def __aenter__(self) -> Self:
        self.show(*self._plans)
        for plane in self.planes:
            await plane.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for plane in self.planes:
            await plane.stop()
        if error[0] is None:
            await until(lambda: self.leftovers() == {}, 2.0)
        self.board.close()

    def show(self, *plans: Plan) -> None:
        """Make this the next picture of the fleet."""
        for plan in plans:
            for url in plan.urls:
                self._slots.setdefault(url, len(self._slots))
        self._number += 1
        snapshot = Snapshot(
            number=self._number,
            pools={plan.name: plan.pool(slot, self._slots) for slot, plan in enumerate(plans)},
            names={name.name: name for plan in plans for name in plan.names()},
            ejection=self._ejection,
            retries=self._retries,
        )
        for plane in self.planes:
            plane.fleet.apply(snapshot)

    @property
    def port(self) -> int:
        return self.planes[0].port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- what was counted --

    def outstanding(self, url: str) -> int:
        return self.board.outstanding(self._slots[url])

    def dispatched(self, url: str) -> int:
        """Requests that the replica was sent, over all workers."""
        return self._sums().replica(self._slots[url], families.DISPATCHED)[0]

    def count(self, family: families.Counter, value: str = "", pool: int = 0) -> int:
        """A counter of a pool."""
        return self._sums().pool(pool, family)[family.values.index(value)]

    def queued(self, pool: int = 0) -> int:
        return self.board.queued(pool)

    def leftovers(self) -> dict[str, int]:
        """Gauges that are not zero. All of them are once every request has ended."""
        seen = self._sums()
        gauges = {f"outstanding of {url}": self.outstanding(url) for url in self._slots}
        for url, slot in self._slots.items():
            gauges[f"connections to {url}"] = seen.replica(slot, families.CONNECTIONS)[0]
        for slot in range(POOLS):
            gauges[f"queue of pool {slot}"] = seen.pool(slot, families.QUEUE_DEPTH)[0]
        gauges["clients"] = sum(cells[0] for cells in seen.workers(families.CLIENTS))
        gauges["watched attempts"] = sum(len(plane.deadlines) for plane in self.planes)
        return {name: value for name, value in gauges.items() if value}

    def _sums(self) -> sums.Sums:
        return sums.read(self.board, POOLS, REPLICAS)
