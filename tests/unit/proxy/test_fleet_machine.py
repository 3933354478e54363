"""Two workers, one pool and a clock that a test moves: counts are always right, picks always allowed."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.fleet.ejection import Standing
from gateway.fleet.routing import Candidates
from gateway.fleet.snapshot import Ejection, Limits, ModelName, Pool, Replica, Snapshot, State
from gateway.proxy import lease as lease_module
from gateway.proxy import live as live_module
from gateway.proxy.client import ClientConnection
from gateway.proxy.errors import GatewayError
from gateway.proxy.lease import Lease
from gateway.proxy.live import LiveFleet, LivePool
from gateway.telemetry.layout import REPLICA_OFFSETS, Layout
from gateway.telemetry.scoreboard import Scoreboard
from tests.unit.proxy.rooms import FakeClient, turn

URLS = tuple(f"http://10.0.0.{i}:8000" for i in range(4))
RULES = Ejection(consecutive_failures=2, base_s=10, max_s=40, panic_threshold=0.5, penalty_s=3)
QUEUE = 3


class Fleet(RuleBasedStateMachine):
    """What clients, replicas, probes and operators may do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.patch = pytest.MonkeyPatch()
        clock = SimpleNamespace(monotonic=lambda: self.now)
        self.patch.setattr(live_module, "time", clock)
        self.patch.setattr(lease_module, "time", clock)
        self.runner = asyncio.Runner()
        self.board = Scoreboard.create(Layout(workers=2, pools=1, replicas=len(URLS)))
        self.open: list[tuple[int, Lease]] = []
        self.waiting: list[tuple[FakeClient, asyncio.Task[Lease], int]] = []

    @initialize(cap=st.sampled_from([None, 1, 2]))
    def begin(self, cap: int | None) -> None:
        replicas = tuple(
            Replica(id=url, slot=slot, state=State.UP, models=frozenset({"m", "lora"} if slot else {"m"}))
            for slot, url in enumerate(URLS)
        )
        limits = Limits(outstanding_per_replica=cap, queue=QUEUE, queue_timeout_s=3600)
        self.cap = cap
        self.view = Pool(name="m", slot=0, replicas=replicas, limits=limits)
        self.number = 0
        self.workers = [LiveFleet(self.board, number, Random(number)) for number in range(2)]
        self.show(self.view)

    def show(self, view: Pool) -> None:
        self.view = view
        self.number += 1
        names = {"m": ModelName(name="m", pool="m", upstream="m", listed=True)}
        snapshot = Snapshot(number=self.number, pools={"m": view}, names=names, ejection=RULES)
        for worker in self.workers:
            self.run(partial(worker.apply, snapshot))

    def run(self, step: Callable[[], Any]) -> Any:
        async def then_settle() -> Any:
            result = step()
            await turn()
            return result

        result = self.runner.run(then_settle())
        for entry in [each for each in self.waiting if each[1].done()]:
            self.waiting.remove(entry)
            _, task, worker = entry
            if not task.cancelled() and task.exception() is None:
                self.open.append((worker, task.result()))
            elif not task.cancelled():
                assert isinstance(task.exception(), GatewayError)
        return result

    def pool(self, worker: int) -> LivePool:
        return self.workers[worker].pools["m"]

    def allowed(self, name: str) -> set[str]:
        """The replicas that may be asked: those not ejected, or, in panic, those that are not surely dead."""
        candidates = Candidates.of(self.view.replicas, name)
        good = [r for r in candidates.ready if self.board.standing(r.slot, self.now) is not Standing.OUT]
        everyone = [*candidates.ready, *candidates.doubtful]
        panic = not good or len(good) < RULES.panic_threshold * len(everyone)
        return {replica.id for replica in (everyone if panic else good)}

    # -- clients --

    @rule(worker=st.integers(0, 1), name=st.sampled_from(["m", "lora"]), tried=st.sets(st.sampled_from(URLS)))
    def take(self, worker: int, name: str, tried: set[str]) -> None:
        pool, allowed = self.pool(worker), self.allowed(name)
        had_room = [
            r.id
            for r in self.view.replicas
            if r.id in allowed - tried and (self.cap is None or self.board.outstanding(r.slot) < self.cap)
        ]
        lease = self.run(lambda: pool.lease(name, tried))
        if lease is None:
            assert had_room == []
        else:
            assert lease.replica.view.id in had_room
            self.open.append((worker, lease))

    @rule(worker=st.integers(0, 1), priority=st.integers(-1, 1))
    def ask(self, worker: int, priority: int) -> None:
        client = FakeClient()
        loop = self.runner.get_loop()
        asking = self.pool(worker).queue.lease(cast("ClientConnection", client), "m", (), priority)
        task = loop.create_task(asking)
        self.waiting.append((client, task, worker))
        self.run(lambda: None)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave_the_queue(self, data: st.DataObject) -> None:
        client, _, _ = data.draw(st.sampled_from(self.waiting))
        self.run(client.leave)

    @rule()
    def look_for_room(self) -> None:
        for number in range(2):
            self.run(self.pool(number).queue.serve)

    # -- replicas --

    @precondition(lambda self: self.open)
    @rule(data=st.data(), end=st.sampled_from(["good", "bad", "left"]), twice=st.booleans())
    def end(self, data: st.DataObject, end: str, twice: bool) -> None:  # noqa: FBT001
        _, lease = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.run(lease.release)
        if end == "good":
            lease.replica.succeeded()
        elif end == "bad":
            lease.replica.failed(RULES)
        else:
            lease.replica.undecided()
        if twice:
            self.run(lease.release)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # -- control --

    @rule(slot=st.integers(0, len(URLS) - 1), state=st.sampled_from(list(State)), draining=st.booleans())
    def probe(self, slot: int, state: State, draining: bool) -> None:  # noqa: FBT001
        replicas = list(self.view.replicas)
        replicas[slot] = msgspec.structs.replace(replicas[slot], state=state, draining=draining)
        self.show(msgspec.structs.replace(self.view, replicas=tuple(replicas)))

    # -- always --

    @invariant()
    def counts_are_the_open_leases(self) -> None:
        held = Counter(lease.replica.view.slot for _, lease in self.open)
        for slot in range(len(URLS)):
            assert self.board.outstanding(slot) == held[slot]
            for worker in range(2):
                cell = self.board.layout.replica(worker, slot) + REPLICA_OFFSETS["replica_outstanding"]
                assert self.board.cells[cell] >= 0
            assert self.cap is None or held[slot] <= self.cap

    @invariant()
    def the_queue_is_bounded_and_holds_exactly_who_waits(self) -> None:
        assert self.board.queued(0) == len(self.waiting) <= QUEUE
        if hasattr(self, "workers"):
            for number in range(2):
                mine = [entry for entry in self.waiting if entry[2] == number]
                assert len(self.pool(number).queue) == len(mine)

    @invariant()
    def nobody_waits_once_there_is_room_and_it_was_looked_for(self) -> None:
        self.look_for_room() if self.waiting else None
        if self.waiting:
            room = [
                r
                for r in self.view.replicas
                if r.id in self.allowed("m")
                and (self.cap is None or self.board.outstanding(r.slot) < self.cap)
            ]
            assert room == []

    def teardown(self) -> None:
        for _, lease in self.open:
            lease.release()
        for _, task, _ in self.waiting:
            task.cancel()
        self.run(lambda: None)
        self.patch.undo()
        self.runner.close()
        self.board.close()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
