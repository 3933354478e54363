"""Watching the replicas: for each one a rhythm of probes, model listings and engine readings.

Replicas are watched side by side: one that answers late delays nobody but itself.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from random import Random

import aiohttp

from gateway.control import canary, engine
from gateway.control.canary import Canary
from gateway.control.engine import EngineStats
from gateway.control.fleet_state import FleetState
from gateway.control.hanging import HangDetector
from gateway.control.probes import NoAnswer, Outcome, Target, fetch, probe, read_models
from gateway.fleet.health import Probe
from gateway.fleet.observation import Observation
from gateway.fleet.snapshot import State
from gateway.telemetry.scoreboard import Scoreboard

_LOG = logging.getLogger(__name__)

JITTER = 0.1
SUSPECT_GAP_S = 0.2
"""Least time between two probes of one replica, however many of its requests fail."""
HUNG_LOOK_S = 0.25
"""How often a hung replica is looked at for a byte."""
CANARY_TIMEOUT_S = 5.0
CANARY_PATIENCE_S = 30.0
"""After so long a hung replica that no canary can judge is tried with real requests again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often to ask what, in seconds."""

    interval_s: float = 2.0
    timeout_s: float = 10.0
    path: str = "/health"
    models_interval_s: float = 30.0
    metrics_interval_s: float = 2.0


class ReplicaWatch:
    """Watches one replica until it is cancelled."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        state: FleetState,
        detector: HangDetector,
        target: Target,
        rhythm: Rhythm,
        rng: Random,
    ) -> None:
        self._session = session
        self._state = state
        self._detector = detector
        self._rhythm = rhythm
        self._rng = rng
        self._probe_wanted = asyncio.Event()
        self._models_wanted = asyncio.Event()
        self.target = target

    def probe_now(self) -> None:
        """A request failed: find out now what is wrong."""
        self._probe_wanted.set()

    def read_models_now(self) -> None:
        """Its models may have changed."""
        self._models_wanted.set()

    def forget_hang(self) -> None:
        """This watch ends: nobody else would lift the ejection."""
        self._detector.reset()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._probe_again_and_again())
            group.create_task(self._list_again_and_again())
            group.create_task(self._measure_again_and_again())

    # -- health --

    async def _probe_again_and_again(self) -> None:
        while True:
            began = time.monotonic()
            await self._guarded(self._probe)
            await self._pause(self._rhythm.interval_s - (time.monotonic() - began), self._probe_wanted)
            await asyncio.sleep(max(0.0, began + SUSPECT_GAP_S - time.monotonic()))

    async def _probe(self) -> None:
        url = self.target.url
        outcome = await probe(self._session, self.target, self._rhythm.path, self._rhythm.timeout_s)
        if outcome.probe is not Probe.OK or self._observation.health.state is State.UP:
            self._state.probed(url, outcome)
            return
        # Read before it is published as up: a restarted server may have lost its adapters.
        try:
            models = await read_models(self._session, self.target, self._rhythm.timeout_s)
        except NoAnswer as no:
            self._state.probed(url, Outcome(no.outcome.probe, no.outcome.detail))
        else:
            self._state.welcome(url, models, outcome)

    # -- models --

    async def _list_again_and_again(self) -> None:
        while True:
            await self._pause(self._rhythm.models_interval_s, self._models_wanted)
            await self._guarded(self._list)

    async def _list(self) -> None:
        if self._observation.health.state is not State.UP:
            return  # it is read when it comes back
        try:
            models = await read_models(self._session, self.target, self._rhythm.timeout_s)
        except NoAnswer as no:
            _LOG.debug("%s: its models could not be read again: %s", self.target.url, no)
        else:
            self._state.listed(self.target.url, models)

    # -- the engine --

    async def _measure_again_and_again(self) -> None:
        while True:
            await self._guarded(self._measure)
            await self._pause_watching_for_bytes()

    async def _measure(self) -> None:
        state = self._observation.health.state
        if state in {State.REFUSED, State.FAILING}:
            self._detector.reset()
        elif state is State.UP:
            stats = await self._read_engine()
            self._state.measured(self.target.url, stats)
            self._detector.sample(stats.counters if stats else None)
        if self._detector.hung_for_s is not None and self._detector.is_idle:
            await self._send_canary(self._detector.hung_for_s)

    async def _read_engine(self) -> EngineStats | None:
        try:
            body, _ = await fetch(self._session, self.target, "/metrics", self._rhythm.timeout_s)
            return engine.parse(body.decode(errors="replace"))
        except (NoAnswer, ValueError) as error:
            _LOG.debug("%s: its metrics could not be read: %s", self.target.url, error)
            return None

    async def _send_canary(self, hung_for_s: float) -> None:
        models = [model.id for model in self._observation.models or () if model.parent is None]
        answer = Canary.CANNOT_TELL
        if models:
            answer = await canary.ask(self._session, self.target, models[0], CANARY_TIMEOUT_S)
        if answer is Canary.ALIVE or (answer is Canary.CANNOT_TELL and hung_for_s > CANARY_PATIENCE_S):
            self._detector.reset()

    async def _pause_watching_for_bytes(self) -> None:
        until = time.monotonic() + self._jittered(self._rhythm.metrics_interval_s)
        while self._detector.hung_for_s is not None and time.monotonic() < until:
            self._detector.notice_byte()
            await asyncio.sleep(HUNG_LOOK_S)
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    # -- rhythm --

    @property
    def _observation(self) -> Observation:
        return self._state.find(self.target.url).seen

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Exception:  # noqa: BLE001  (a task root: one strange answer must not end the watch)
            _LOG.exception("%s: watching it failed; it goes on", self.target.url)

    async def _pause(self, seconds: float, wanted: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._jittered(seconds))):
                await wanted.wait()
        except TimeoutError:
            pass
        wanted.clear()

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)


class Monitor:
    """Watches a fleet. Its tasks belong to the given group; `follow` says whom to watch from now on."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        session: aiohttp.ClientSession,
        state: FleetState,
        board: Scoreboard,
        rng: Random,
    ) -> None:
        self._group = group
        self._session = session
        self._state = state
        self._board = board
        self._rng = rng
        self._watches: dict[str, tuple[ReplicaWatch, Rhythm, asyncio.Task[None]]] = {}

    def follow(self, replicas: Iterable[Observation], rhythm: Rhythm) -> None:
        """Watch these replicas and no others. A watch whose terms did not change goes on."""
        wanted = {r.url: Target(r.url, r.authorization) for r in replicas}
        for url, (watch, old, task) in list(self._watches.items()):
            if wanted.get(url) != watch.target or old != rhythm:
                watch.forget_hang()
                task.cancel()
                del self._watches[url]
        for url, target in wanted.items():
            if url not in self._watches:
                detector = HangDetector(self._board, self._state, url)
                watch = ReplicaWatch(self._session, self._state, detector, target, rhythm, self._rng)
                self._watches[url] = (watch, rhythm, self._group.create_task(watch.run()))

    def suspect(self, url: str) -> None:
        """A worker saw a request fail: probe this replica now."""
        if url in self._watches:
            self._watches[url][0].probe_now()

    def read_models(self) -> None:
        """Ask everybody again what they serve."""
        for watch, _, _ in self._watches.values():
            watch.read_models_now()

    def close(self) -> None:
        """Watch nobody any more."""
        for _, _, task in self._watches.values():
            task.cancel()
        self._watches.clear()
