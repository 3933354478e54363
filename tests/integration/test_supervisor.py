"""Supervised servers as processes: their order, their restarts, their end."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from gateway.launch.calibration import Calibration, load_calibration
from gateway.launch.inventory import InventoryError
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.terms import GIB, MIB, Origin
from gateway.launch.memory.versions import Version
from gateway.launch.placement.placing import place
from gateway.launch.plan import Plan
from gateway.launch.supervision.events import (
    Answering,
    Calibrated,
    Ended,
    GivenUp,
    Happening,
    Replanned,
    Starting,
)
from gateway.launch.supervision.keeper import Patience
from gateway.launch.supervision.log_files import last_lines, log_path
from gateway.launch.supervision.policy import Policy
from gateway.launch.supervision.ports import PortInUse
from gateway.launch.supervision.supervisor import Orders, Supervisor, supervised
from tests.integration.launches import FAKE, Launches, launches
from tests.integration.sim_client import until
from tests.unit.launch.builders import llama_config, request

CARD = Device(0, "RTX 3090", 8 * GIB)
QUICK = Patience(policy=Policy(first_pause_s=0.01, most_failures=3), watch_s=0.05, dead_s=0.3, stop_s=10.0)
H = TypeVar("H", bound=Happening)


class Card:
    """A driver whose card fills by half a GiB with each look."""

    def __init__(self) -> None:
        self.looks = 0

    def devices(self) -> list[tuple[str, int, int, str]]:
        self.looks += 1
        return [("RTX 3090", 8 * GIB, self.looks * GIB // 2, "GPU-1")]


class NoDriver:
    def devices(self) -> list[tuple[str, int, int, str]]:
        raise InventoryError("no driver")


@dataclass
class Run:
    """A supervisor at work, and what it told."""

    supervisor: Supervisor
    told: list[Happening]
    task: asyncio.Task[None] = field(repr=False)

    def of(self, kind: type[H]) -> list[H]:
        return [happening for happening in self.told if isinstance(happening, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, 30.0)


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    with launches(tmp_path) as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)
        yield it


def plan_of(scripts: Mapping[str, str], device: Device = CARD, **options: Any) -> Plan:
    """A server for each name, smallest first in the order given."""
    requests = [
        request(llama_config(), name, priority=-number, env={"FAKE_VLLM": script}, **options)
        for number, (name, script) in enumerate(scripts.items())
    ]
    return place(requests, [device])


@asynccontextmanager
async def running(plan: Plan, folder: Path, **more: Any) -> AsyncIterator[Run]:
    told: list[Happening] = []
    orders = Orders(
        plan=plan,
        calibration=Calibration(),
        vllm_command=FAKE,
        launch_dir=folder,
        library=NoDriver(),
        patience=QUICK,
    )
    async with supervised(replace(orders, **more), told.append) as supervisor:
        task = asyncio.create_task(supervisor.run())
        try:
            yield Run(supervisor, told, task)
        finally:
            await supervisor.stop()
            task.cancel()
            await asyncio.wait((task,))


async def test_servers_start_one_after_the_other_in_the_plans_order(servers: Launches) -> None:
    async with running(plan_of({"a": "ok", "b": "ok", "c": "ok"}), servers.folder) as run:
        await run.until(run.supervisor.started.is_set)
        assert servers.happened() == ["a begin", "a ready", "b begin", "b ready", "c begin", "c ready"]
        assert len({server.url for server in run.supervisor.servers}) == 3
        doing = [happening.doing for happening in run.of(Starting) if happening.server.label == "a"]
        assert doing[0] == "starting Python"
        assert "loading weights (100 %)" in doing
    assert servers.happened().count("a sigterm") == 1
    servers.wait_gone()


async def test_a_server_that_fails_to_start_does_not_keep_the_next_from_starting(servers: Launches) -> None:
    async with running(plan_of({"a": "unknown,ok", "b": "ok"}), servers.folder) as run:
        await run.until(lambda: len(run.of(Answering)) == 2)
        assert {answer.server.label for answer in run.of(Answering)} == {"a", "b"}
        (ended,) = run.of(Ended)
        assert ended.why == "it ended with status 1: RuntimeError: the moon is full"
        # Never beside a neighbour that is starting.
        events = servers.happened()
        assert events.count("a begin") == 2
        assert events[events.index("b begin") + 1] == "b ready"
        assert events[events.index("a ready") - 1] == "a begin"


async def test_a_server_whose_engine_dies_comes_back_with_its_adapter_and_nobody_else_notices(
    servers: Launches,
) -> None:
    plan = plan_of({"a": "ok", "b": "ok"}, adapters={"sql": str(servers.adapter)})
    async with running(plan, servers.folder) as run, aiohttp.ClientSession() as session:
        await run.until(run.supervisor.started.is_set)
        servers.kill_engine("a")
        await run.until(lambda: len(run.of(Answering)) == 3)
        assert [happening.server.label for happening in run.of(Ended)] == ["a"]
        assert servers.happened().count("b begin") == 1
        async with session.get(f"{run.supervisor.servers[0].url}/v1/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["a", "sql"]


async def test_a_server_that_stays_with_a_dead_engine_is_ended_and_started_again(servers: Launches) -> None:
    async with running(plan_of({"a": "silent,ok"}), servers.folder) as run:
        await run.until(run.supervisor.started.is_set)
        servers.kill_engine("a")
        await run.until(lambda: len(run.of(Answering)) == 2)
        assert run.of(Ended)[0].why == "its engine was dead and it did not end by itself"


async def test_one_that_keeps_dying_is_given_up_and_the_others_stay(servers: Launches) -> None:
    async with running(plan_of({"a": "die", "b": "ok"}), servers.folder) as run:
        await run.until(lambda: bool(run.of(GivenUp)) and run.supervisor.started.is_set())
        (given_up,) = run.of(GivenUp)
        assert given_up.server.label == "a"
        assert given_up.why == "it failed 3 times in a row; the last time it ended with status 3"
        assert [ended.pause_s for ended in run.of(Ended)] == [0.01, 0.02]
        assert not run.task.done()
        assert servers.happened().count("b begin") == 1


async def test_one_that_was_given_up_is_started_again_on_request(servers: Launches) -> None:
    async with running(plan_of({"a": "settings,ok", "b": "ok"}), servers.folder) as run:
        await run.until(lambda: bool(run.of(GivenUp)) and run.supervisor.started.is_set())
        run.supervisor.retry()
        run.supervisor.retry()
        await run.until(lambda: len(run.of(Answering)) == 2)
        assert servers.happened().count("a begin") == 2
        assert servers.happened().count("b begin") == 1


async def test_when_all_are_given_up_it_ends_and_may_run_again(servers: Launches) -> None:
    async with running(plan_of({"a": "settings,ok"}), servers.folder) as run:
        await run.until(run.task.done)
        assert not run.supervisor.wanted_again.is_set()
        run.supervisor.retry()
        await run.supervisor.wanted_again.wait()
        again = asyncio.create_task(run.supervisor.run())
        await run.until(lambda: bool(run.of(Answering)))
        await run.supervisor.stop()
        await again


async def test_one_that_can_only_fail_again_is_given_up_at_once_with_advice(servers: Launches) -> None:
    async with running(plan_of({"a": "settings"}), servers.folder) as run:
        await run.until(run.task.done)
        (given_up,) = run.of(GivenUp)
        assert "does not know --no-such-flag: correct `args`" in given_up.why
        assert servers.happened() == ["a begin"]


@pytest.mark.parametrize("failure", ["oom", "gate", "nothing", "short"])
async def test_a_start_without_memory_is_planned_again_once_and_only_for_that_server(
    servers: Launches, failure: str
) -> None:
    plan = plan_of({"a": f"{failure},ok", "b": "ok"})
    async with running(plan, servers.folder) as run:
        await run.until(run.supervisor.started.is_set)
        (replanned,) = run.of(Replanned)
        assert replanned.server.label == "a"
        assert run.supervisor.plan == replanned.plan
        kv = [int(_flag(line, "--kv-cache-memory-bytes")) for line in servers.lines("a begin")]
        assert kv[1] < kv[0]
        assert run.supervisor.plan.instances[0].kv_bytes == kv[1]
        assert run.supervisor.plan.instances[1] == plan.instances[1]
        assert servers.happened()[:3] == ["a begin", "a begin", "a ready"]


async def test_a_start_that_fails_again_after_planning_anew_is_given_up_in_the_end(servers: Launches) -> None:
    async with running(plan_of({"a": "oom"}), servers.folder) as run:
        await run.until(run.task.done)
        assert len(run.of(Replanned)) == 1
        # What either plan lacked is known to the next one; the third start was as the second.
        assert [record.lacking_bytes for record in load_calibration(servers.folder).records] == [1000 * MIB]
        assert "the GPU ran out of memory while starting" in run.of(GivenUp)[0].why
        assert servers.happened() == ["a begin"] * 3


async def test_a_cache_that_the_operator_fixed_is_not_shrunk_but_said_not_to_fit(servers: Launches) -> None:
    async with running(plan_of({"a": "oom"}, kv_cache_bytes=6 * GIB), servers.folder) as run:
        await run.until(run.task.done)
        assert "planned again: " in run.of(GivenUp)[0].why
        assert servers.happened() == ["a begin"]


async def test_a_disturbed_start_is_tried_again_as_it_was(servers: Launches) -> None:
    async with running(plan_of({"a": "profile,ok"}), servers.folder) as run:
        await run.until(lambda: bool(run.of(Answering)))
        assert len({line.split("begin ")[1] for line in servers.lines("a begin")}) == 1


async def test_one_that_takes_too_long_is_ended(servers: Launches) -> None:
    plan = plan_of({"a": "late,ok"})
    async with running(plan, servers.folder, start_timeouts_s={"a": 2.0}) as run:
        await run.until(lambda: bool(run.of(Answering)))
        assert run.of(Ended)[0].why.startswith("it did not answer within 2 s")


async def test_what_a_start_measured_is_kept_for_the_next_plan(servers: Launches) -> None:
    plan = plan_of({"a": "ok"}, version=Version(0, 32))
    async with running(plan, servers.folder, library=Card()) as run:
        await run.until(lambda: bool(run.of(Calibrated)))
    calibration = load_calibration(servers.folder)
    (again,) = place([planned.request for planned in plan.instances], [CARD], calibration).instances
    assert again.budget.weights.size_bytes == GIB // 2
    assert again.budget.graphs.size_bytes == GIB // 4
    assert {again.origins[term] for term in ("weights", "cuda_graphs", "context")} == {Origin.MEASURED}


async def test_on_the_cpu_what_the_processes_hold_is_measured(servers: Launches) -> None:
    ram = Device(0, "cpu", 8 * GIB, DeviceKind.CPU)
    async with running(plan_of({"a": "ok"}, ram), servers.folder) as run:
        await run.until(lambda: bool(run.of(Calibrated)))
    assert load_calibration(servers.folder).records[0].context_bytes


async def test_the_end_of_the_guard_is_the_end_of_its_server(servers: Launches) -> None:
    async with running(plan_of({"a": "ok"}), servers.folder) as run:
        await run.until(run.supervisor.started.is_set)
        first = servers.engine("a")
        (guard,) = servers.alive("guard.py")
        os.kill(guard, 9)
        await run.until(lambda: len(run.of(Answering)) == 2)
        assert first not in servers.alive()
        assert len(servers.alive("escaped")) == 1


async def test_a_command_that_is_not_there_is_said(servers: Launches) -> None:
    async with running(plan_of({"a": "ok"}), servers.folder, vllm_command=("/no/vllm",)) as run:
        await run.until(run.task.done)
        assert run.of(GivenUp)[0].why.endswith("cannot run /no/vllm: no such file or directory")


async def test_a_port_that_is_taken_is_said_before_anything_starts(servers: Launches) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PortInUse, match=f"port {port}"):
        async with running(plan_of({"a": "ok"}, port=port), servers.folder):
            pass
    server.close()
    assert servers.journal() == []


async def test_stopping_ends_a_start_in_the_middle(servers: Launches) -> None:
    async with running(
        plan_of({"a": "late", "b": "ok"}), servers.folder, patience=Patience(stop_s=0.1)
    ) as run:
        await run.until(lambda: bool(run.of(Starting)) and len(servers.alive()) > 3)
    assert servers.happened() == ["a begin"]
    servers.wait_gone()


async def test_everything_that_it_prints_is_in_its_log(servers: Launches) -> None:
    async with running(plan_of({"a": "oom,ok"}), servers.folder) as run:
        await run.until(run.supervisor.started.is_set)
    lines = last_lines(log_path(servers.folder, "a"), 1000)
    assert sum(line.startswith("--- ") for line in lines) == 2
    assert any("CUDA out of memory" in line for line in lines)


def _flag(line: str, flag: str) -> str:
    words = line.split()
    return words[words.index(flag) + 1]
