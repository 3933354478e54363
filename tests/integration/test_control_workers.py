"""Worker processes: started, told, replaced, stopped. With workers that only pretend."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.control import worker_process, workers
from gateway.control.journal import Journal
from gateway.control.worker_process import worker_command
from gateway.control.workers import Workers, boots_of
from gateway.fleet.snapshot import Snapshot
from gateway.proxy.channel import Boot
from gateway.proxy.settings import Settings
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, Layout
from gateway.telemetry.scoreboard import Scoreboard
from tests.integration.sim_client import until

STUB = Path(__file__).with_name("stub_worker.py")
LAYOUT = Layout(workers=2, pools=2, replicas=2)
START_S = 20.0


@dataclass
class Crew:
    workers: Workers
    board: Scoreboard
    journal: Journal
    suspects: list[str]

    def pids(self) -> list[int]:
        return [view.pid for view in self.workers.views if view.pid is not None]

    def messages(self, kind: str) -> list[str]:
        return [event.message for event in self.journal.events if event.kind == kind]

    def cell(self, worker: int, name: str) -> int:
        return int(self.board.cells[LAYOUT.replica(worker, 0) + REPLICA_OFFSETS[name]])

    async def ready(self) -> None:
        async with asyncio.timeout(START_S):
            await self.workers.ready.wait()


@asynccontextmanager
async def crew(mode: str, settings: Settings | None = None) -> AsyncIterator[Crew]:
    board, journal, suspects = Scoreboard.create(LAYOUT), Journal(lambda: 0.0), list[str]()
    boot = Boot(
        worker=0,
        workers=2,
        pools=LAYOUT.pools,
        replicas=LAYOUT.replicas,
        scoreboard_fd=board.fd,
        listen_fds=(),
        settings=settings or Settings(),
    )
    made = Workers(
        board,
        journal,
        boots_of(boot, 2),
        lambda fd: (sys.executable, "-P", str(STUB), mode, str(fd)),
        suspects.append,
    )
    async with asyncio.TaskGroup() as group:
        made.start(group)
        try:
            yield Crew(made, board, journal, suspects)
        finally:
            await made.stop(0.0)
    board.close()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_workers_get_the_picture_at_their_start_and_each_one_after() -> None:
    async with crew("good") as them:
        them.workers.show(Snapshot(number=5))
        await them.ready()
        them.workers.show(Snapshot(number=6))
        wanted = {f"worker {i} sees {n}" for i in (0, 1) for n in (5, 6)}
        await until(lambda: wanted <= set(them.messages("picture")))


async def test_a_killed_worker_is_replaced_and_leaves_no_count_behind() -> None:
    async with crew("good") as them:
        them.workers.show(Snapshot(number=9))
        await until(lambda: len(them.messages("picture")) == 2, START_S)
        first, second = them.pids()
        os.kill(first, signal.SIGKILL)
        await until(lambda: them.workers.restarts == 1)
        await until(lambda: len(them.pids()) == 2, START_S)
        assert second in them.pids()
        assert first not in them.pids()
        assert them.messages("worker_ended") == ["worker 0 was ended by SIGKILL; it is started again"]
        assert them.cell(0, "replica_requests") == 2, "what the dead one had counted stays"
        await until(lambda: len(them.messages("picture")) == 3)
        assert them.messages("picture")[-1] == "worker 0 sees 9"


async def test_the_dead_workers_gauges_are_zero_before_another_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "next_pause", lambda *_: 3600.0)  # nobody takes its place
    async with crew("good") as them:
        await them.ready()
        assert them.board.outstanding(0) == 14
        os.kill(them.pids()[1], signal.SIGKILL)
        await until(lambda: them.workers.restarts == 1)
        assert them.board.outstanding(0) == 7
        assert them.board.queued(0) == 3
        assert them.board.cells[LAYOUT.pool(1, 0) + POOL_OFFSETS["queue_depth"]] == 0


async def test_workers_that_can_not_start_are_started_again_and_again_but_not_in_a_rush() -> None:
    async with crew("dead") as them:
        await until(lambda: them.workers.restarts >= 4, START_S)
        assert them.pids() == []
        assert them.messages("worker_ended")[0].endswith("ended with status 3; it is started again")


async def test_a_command_that_does_not_exist_is_told_in_words() -> None:
    async with crew("good") as them:
        them.workers._command = lambda _: ("/does/not/exist",)
        await until(lambda: len(them.messages("worker_ended")) >= 2)
        assert "could not be started: No such file or directory" in them.messages("worker_ended")[0]


async def test_a_worker_that_says_what_no_worker_says_is_killed_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_process, "KILL_AFTER_S", 0.05)
    async with crew("rude") as them:
        await until(lambda: them.workers.restarts >= 1, START_S)
        assert "SIGKILL" in them.messages("worker_ended")[0]


async def test_what_a_worker_suspects_reaches_the_probes() -> None:
    async with crew("suspicious", Settings(access_log="http://a:1")) as them:
        await them.ready()
        await until(lambda: them.suspects == ["http://a:1"] * 2)


async def test_workers_that_are_asked_to_stop_end_by_themselves_and_stay_away() -> None:
    async with crew("good") as them:
        await them.ready()
        pids = them.pids()
        await them.workers.stop(30.0)
        assert all(map(is_gone, pids))
        assert them.workers.restarts == 0
        assert them.messages("worker_ended") == []


async def test_a_worker_that_does_not_stop_is_killed_after_the_grace_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "KILL_MARGIN_S", 0.1)
    async with crew("deaf") as them:
        await them.ready()
        pids = them.pids()
        await them.workers.stop(0.0)
        assert all(map(is_gone, pids))


async def test_a_second_stop_cuts_the_first_ones_grace_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "KILL_MARGIN_S", 0.1)
    async with crew("deaf") as them:
        await them.ready()
        patient = asyncio.create_task(them.workers.stop(3600.0))
        await asyncio.sleep(0)
        await them.workers.stop(0.0)
        await patient


async def test_a_worker_that_only_starts_is_told_to_stop_as_soon_as_it_listens() -> None:
    async with crew("good") as them:
        await asyncio.sleep(0)
        async with asyncio.timeout(START_S):
            await them.workers.stop(3600.0)
        assert them.pids() == []


def test_the_real_worker_is_started_without_the_current_folder_in_its_path() -> None:
    command: Callable[[int], object] = worker_command
    assert command(7) == (sys.executable, "-P", "-m", "gateway.proxy.worker", "--channel-fd", "7")
