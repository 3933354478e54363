"""One server's place: starts what belongs there, watches it, and starts it again when it ends."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from gateway.launch.command import ServeCommand
from gateway.launch.failures import FailureKind
from gateway.launch.plan import NoFitError, PlannedInstance
from gateway.launch.supervision.answering import DEAD_S, WATCH_S, first_answer, lasting_silence
from gateway.launch.supervision.events import (
    Answering,
    Calibrated,
    Ended,
    GivenUp,
    Replanned,
    Server,
    Starting,
    Tell,
)
from gateway.launch.supervision.gates import StartGates
from gateway.launch.supervision.journey import Journey
from gateway.launch.supervision.log_files import LogFile
from gateway.launch.supervision.measuring import Calibrator, Gauge
from gateway.launch.supervision.plan_book import PlanBook
from gateway.launch.supervision.policy import Again, Ending, GiveUp, Policy, Record, Replan, decide
from gateway.launch.supervision.process import STOP_S, ServerProcess
from gateway.launch.supervision.stages import FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what. `dead_s`: how long an API server may stay after its engine."""

    policy: Policy = field(default_factory=Policy)
    watch_s: float = WATCH_S
    dead_s: float = DEAD_S
    stop_s: float = STOP_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all keepers share."""

    session: aiohttp.ClientSession
    gates: StartGates
    gauge: Gauge
    calibrator: Calibrator
    book: PlanBook
    tell: Tell
    patience: Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one keeper is told: its server, how to start it, where its log goes, how long it may take."""

    server: Server
    command: Callable[[PlannedInstance], ServeCommand]
    log: Path
    start_timeout_s: float


class Keeper:
    """Keeps one server running until it is stopped or given up."""

    def __init__(self, place: Place, means: Means) -> None:
        self.server = place.server
        self._place = place
        self._means = means
        self._log = LogFile(place.log)
        self._attempt = 0
        self._process: ServerProcess | None = None
        self._journey: Journey | None = None
        self._short: PlannedInstance | None = None
        self._stopping = False
        self.given_up = False
        """Whether `run` has ended because it failed too often, or in a way that will not change."""
        self.judged = asyncio.Event()
        """Set once it answered, failed or was given up for the first time: then the next may start."""

    def begin(self) -> None:
        """Forget what an earlier `run` came to."""
        self.given_up = False
        self.judged.clear()

    async def run(self) -> None:
        """Keep it. After it was given up, this may be called again."""
        try:
            await self._keep()
        finally:
            self.judged.set()
            self._log.close()

    async def stop(self) -> None:
        """Ask the server to end, and see to it that it does."""
        self._stopping = True
        if self._process is not None:
            await self._process.stop(self._means.patience.stop_s)

    async def _keep(self) -> None:
        record = Record()
        while True:
            ending = await self._live()
            if self._stopping:
                return
            failed = self._means.book.instance(self.server.label)
            record, decision = decide(self._means.patience.policy, record, ending)
            match decision:
                case Again(pause_s):
                    self._remember_shortage(failed, ending)
                    self._means.tell(Ended(self.server, ending.why, pause_s))
                    self.judged.set()
                    await asyncio.sleep(pause_s)
                case GiveUp(why):
                    self._remember_shortage(failed, ending)
                    self._give_up(why)
                    return
                case Replan():
                    try:
                        self._replan(ending)
                    except NoFitError as error:
                        self._give_up(f"{ending.why}; planned again: {error}")
                        return
                    finally:  # afterwards, or it would count twice
                        self._remember_shortage(failed, ending)

    def _give_up(self, why: str) -> None:
        self.given_up = not self._stopping
        self._means.tell(GivenUp(self.server, why))

    def _replan(self, ending: Ending) -> None:
        assert self._journey is not None
        book = self._means.book
        change = book.shrink(self.server.label, self._journey.boot_log(), self._journey.missing_bytes())
        self._means.tell(Replanned(self.server, ending.why, change, book.plan))

    def _remember_shortage(self, failed: PlannedInstance, ending: Ending) -> None:
        """Keep how much memory the start lacked, once for each plan it was started by."""
        failure = ending.failure if ending.lived_s is None else None
        if failure is None or failure.kind is not FailureKind.MEMORY or failed is self._short:
            return
        assert self._journey is not None
        self._short = failed
        missing = self._journey.missing_bytes()
        self._means.calibrator.keep_shortage(failed, self._journey.boot_log(), missing)

    # -- one life --

    async def _live(self) -> Ending:
        """From one start to the end that follows it."""
        self._attempt += 1
        planned = self._means.book.instance(self.server.label)
        journey = self._journey = Journey(self._log, self._notice)
        async with contextlib.AsyncExitStack() as life:
            async with self._means.gates.of(self.server.gpus):
                before = await self._means.gauge.before(planned)
                if self._stopping:
                    return Ending("it was stopped")
                began = time.monotonic()
                process = await life.enter_async_context(self._started(planned, journey))
                if not await self._answers(process):
                    return await self._failed(process, journey, time.monotonic() - began)
                self._means.tell(Answering(self.server, time.monotonic() - began, journey.boot_log()))
                await self._learn(planned, process, journey, before)
            journey.arrive()
            self.judged.set()
            arrived = time.monotonic()
            why = await self._gone(process)
            return self._ending(why, journey, time.monotonic() - arrived)

    @contextlib.asynccontextmanager
    async def _started(self, planned: PlannedInstance, journey: Journey) -> AsyncIterator[ServerProcess]:
        self._log.write(f"--- {time.strftime('%F %T')} start {self._attempt}")
        process = ServerProcess(self._place.command(planned), journey.hear)
        self._process = process
        running = asyncio.create_task(process.run())
        self._notice(FIRST)
        try:
            yield process
        finally:
            self._process = None
            running.cancel()
            await asyncio.wait((running,))

    def _notice(self, doing: str) -> None:
        self._means.tell(Starting(self.server, self._attempt, doing))

    async def _answers(self, process: ServerProcess) -> bool:
        """Wait until it answers; False if it ended instead, or took too long."""
        answering = asyncio.create_task(first_answer(self._means.session, self.server.url))
        ended = asyncio.create_task(process.ended.wait())
        await _first_of(answering, ended, timeout_s=self._place.start_timeout_s)
        if answering.cancelled() or process.ended.is_set():
            return False
        answering.result()
        return True

    async def _failed(self, process: ServerProcess, journey: Journey, took_s: float) -> Ending:
        if process.ended.is_set():
            return self._ending(process.ending, journey, None)
        process.kill()
        await process.ended.wait()
        return self._ending(f"it did not answer within {took_s:.0f} s", journey, None)

    async def _learn(
        self, planned: PlannedInstance, process: ServerProcess, journey: Journey, before: int | None
    ) -> None:
        used_bytes = await self._means.gauge.taken(planned, process, before)
        if self._means.calibrator.keep(planned, journey.boot_log(), used_bytes):
            self._means.tell(Calibrated(self.server))

    async def _gone(self, process: ServerProcess) -> str:
        """Wait until it has ended, or has long been dead and is ended; says why."""
        patience = self._means.patience
        silent = asyncio.create_task(
            lasting_silence(self._means.session, self.server.url, patience.dead_s, patience.watch_s)
        )
        ended = asyncio.create_task(process.ended.wait())
        await _first_of(silent, ended)
        if process.ended.is_set():
            return process.ending
        # It gives memory back, which would disturb a neighbour that starts.
        async with self._means.gates.of(self.server.gpus):
            process.kill()
            await process.ended.wait()
        return "its engine was dead and it did not end by itself"

    def _ending(self, why: str, journey: Journey, lived_s: float | None) -> Ending:
        failure = journey.failure()
        said = journey.last_error() if failure is None else failure.advice
        return Ending(f"{why}: {said}" if said else why, lived_s, failure)


async def _first_of(*tasks: asyncio.Task[object], timeout_s: float | None = None) -> None:
    """Wait until one is done, and end the others."""
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
