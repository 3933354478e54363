"""Keeping the workers alive.

A worker that dies takes its own streams with it and nothing else: its gauges on the scoreboard are zeroed,
and another takes its row and the same listening socket. A worker that dies at once is started again with
growing pauses, so that a broken installation does not become a fork bomb.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from gateway.control.admin.source import WorkerView
from gateway.control.journal import Journal
from gateway.control.upkeep import clear_dead_worker
from gateway.control.worker_process import Command, WorkerProcess
from gateway.fleet.snapshot import Snapshot
from gateway.proxy.channel import Boot, Event, Ready, Suspect, ToControl
from gateway.telemetry.scoreboard import Scoreboard

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
SETTLED_S = 10.0
"""A worker that lived so long did not die at once: the next one is started without a pause."""
KILL_MARGIN_S = 5.0
"""How long after the end of the grace time a worker may take to end."""


def next_pause(last_s: float, lived_s: float) -> float:
    """How long to wait before a worker is started again, in seconds."""
    if lived_s >= SETTLED_S:
        return 0.0
    return min(max(FIRST_PAUSE_S, last_s * 2), LONGEST_PAUSE_S)


@dataclass(slots=True)
class _Seat:
    """One worker's place: its row on the scoreboard, whoever sits in it."""

    boot: Boot
    process: WorkerProcess | None = None
    restarts: int = 0


class Workers:
    """All workers of this gateway. `boots` are what each is told at its start."""

    def __init__(
        self,
        board: Scoreboard,
        journal: Journal,
        boots: Sequence[Boot],
        command: Command,
        suspect: Callable[[str], None],
    ) -> None:
        self._board = board
        self._journal = journal
        self._command = command
        self._suspect = suspect
        self._seats = [_Seat(boot) for boot in boots]
        self._snapshot = Snapshot(number=0)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.ready = asyncio.Event()
        """Set once all of them accept connections."""

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""
        return sum(seat.restarts for seat in self._seats)

    @property
    def views(self) -> list[WorkerView]:
        return [
            WorkerView(index=seat.boot.worker, pid=_pid(seat), restarts=seat.restarts) for seat in self._seats
        ]

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start them, and keep them until `stop`."""
        self._tasks = [group.create_task(self._keep(seat)) for seat in self._seats]

    def show(self, snapshot: Snapshot) -> None:
        """Send the next picture to all; one that starts later gets it as its first."""
        self._snapshot = snapshot
        for seat in self._seats:
            if seat.process is not None:
                seat.process.show(snapshot)

    async def stop(self, grace_s: float) -> None:
        """Let them finish for `grace_s` seconds; who has not ended soon after is killed.

        May be called again with a shorter time while it waits.
        """
        self._stopping = True
        for seat in self._seats:
            if seat.process is None:
                continue
            seat.process.stop(grace_s)
        for task, seat in zip(self._tasks, self._seats, strict=True):
            if seat.process is None:
                task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s + KILL_MARGIN_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _keep(self, seat: _Seat) -> None:
        pause_s = 0.0
        while not self._stopping:
            began = time.monotonic()
            seat.process = WorkerProcess(self._command, seat.boot)
            try:
                ending = await seat.process.run(self._snapshot, self._receive)
            finally:
                seat.process = None
                # Before the next one counts in the same cells.
                clear_dead_worker(self._board, seat.boot.worker)
            if self._stopping:
                return
            seat.restarts += 1
            pause_s = next_pause(pause_s, time.monotonic() - began)
            self._journal.note(
                "worker_ended",
                f"worker {seat.boot.worker} {ending}; it is started again",
                level=logging.ERROR,
            )
            await asyncio.sleep(pause_s)

    def _receive(self, message: ToControl) -> None:
        match message:
            case Ready():
                if all(_pid(seat) is not None for seat in self._seats):
                    self.ready.set()
            case Suspect():
                self._suspect(message.replica)
            case Event():
                self._journal.keep(message, logging.WARNING)


def _pid(seat: _Seat) -> int | None:
    return seat.process.pid if seat.process else None


def boots_of(template: Boot, count: int) -> list[Boot]:
    """What each of `count` workers is told, from what all of them are told."""
    return [msgspec.structs.replace(template, worker=index, workers=count) for index in range(count)]
