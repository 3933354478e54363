"""The queue of a pool: nobody is lost, nobody overtakes, and nothing is kept that nobody waits for."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.fleet.snapshot import Limits
from gateway.proxy.admission import PoolQueue
from gateway.proxy.errors import ClientGone, NoReplica, QueueFull, QueueTimeout
from gateway.proxy.front import ClientConnection
from gateway.proxy.lease import Lease
from gateway.telemetry.meters import PoolMeter

NOBODY = frozenset[str]()


@dataclass
class FakeMeter:
    depth: int = 0
    refused: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def queued(self, change: int) -> None:
        self.depth += change
        assert self.depth >= 0

    def shed(self, reason: str) -> None:
        self.refused.append(reason)

    @property
    def queue_wait(self) -> Any:
        return SimpleNamespace(observe=self.waits.append)


class FakeLease:
    """A place that was given, and can be given back."""

    def __init__(self, room: "FakeRoom") -> None:
        self._room = room
        self.open = True

    def release(self) -> None:
        assert self.open
        self.open = False
        self._room.given.remove(self)
        self._room.queue.serve()


class FakeRoom:
    """A pool with so many places, whose names can each be had by themselves."""

    def __init__(self, places: int, **limits: float) -> None:
        self.fake = FakeMeter()
        self.meter = cast("PoolMeter", self.fake)
        self.places = places
        self.limits = Limits(**cast("Any", limits))
        self.hopeless = False
        self.missing: set[str] = set()
        self.given: list[FakeLease] = []
        self.queue = PoolQueue(self)

    def lease(self, upstream_name: str, _: Collection[str]) -> Lease | None:
        if len(self.given) >= self.places or upstream_name in self.missing:
            return None
        self.given.append(FakeLease(self))
        return cast("Lease", self.given[-1])

    def worth_waiting(self, _: str, __: Collection[str]) -> bool:
        return not self.hopeless

    def queued(self) -> int:
        return self.fake.depth

    def seconds_until_room(self, position: int) -> float:
        return 2.0 * position


class FakeClient:
    """A client that may leave."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.gone = False

    def listen(self, listener: Any) -> None:
        self.listener = listener
        if self.gone:
            raise ClientGone("gone")

    def leave(self) -> None:
        self.gone = True
        if self.listener is not None:
            self.listener.client_gone()


class Waiting:
    """A request for a place."""

    def __init__(self, room: FakeRoom, priority: int = 0, name: str = "m") -> None:
        self.client = FakeClient()
        client = cast("ClientConnection", self.client)
        self.task = asyncio.get_running_loop().create_task(room.queue.lease(client, name, NOBODY, priority))

    @property
    def lease(self) -> FakeLease:
        return cast("FakeLease", self.task.result())

    @property
    def has_one(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


async def turn() -> None:
    """Let everything happen that can happen now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def asked(room: FakeRoom, *priorities: int) -> list[Waiting]:
    waiting = []
    for priority in priorities:
        waiting.append(Waiting(room, priority))
        await turn()
    return waiting


async def test_who_comes_when_there_is_room_does_not_wait() -> None:
    room = FakeRoom(2)
    first, second, third = await asked(room, 0, 0, 0)
    assert first.has_one
    assert second.has_one
    assert not third.task.done()
    assert (room.fake.depth, len(room.queue)) == (1, 1)
    first.lease.release()
    await turn()
    assert third.has_one
    assert (room.fake.depth, len(room.queue), len(room.fake.waits)) == (0, 0, 1)


async def test_nobody_overtakes_who_waits() -> None:
    room = FakeRoom(0)
    (early,) = await asked(room, 0)
    room.places = 1  # made elsewhere, and not noticed yet
    (late,) = await asked(room, 0)
    assert not late.task.done()
    room.queue.serve()
    await turn()
    assert early.has_one
    assert not late.task.done()
    early.lease.release()
    await turn()
    assert late.has_one


async def test_lower_priorities_are_served_first_and_equal_ones_in_order() -> None:
    room = FakeRoom(0)
    waiting = await asked(room, 0, 5, 0, -1, 5)
    order = []
    room.places = 1
    for _ in waiting:
        room.queue.serve()
        await turn()
        served = next(i for i, one in enumerate(waiting) if one.has_one and i not in order)
        order.append(served)
        waiting[served].lease.release()
    assert order == [3, 0, 2, 1, 4]


async def test_who_can_not_be_served_does_not_hold_up_the_others() -> None:
    room = FakeRoom(0)
    room.missing.add("adapter")
    waiting = [Waiting(room, name=name) for name in ("adapter", "adapter", "m")]
    await turn()
    room.places = 5
    room.queue.serve()
    await turn()
    assert [one.has_one for one in waiting] == [False, False, True]
    room.missing.clear()
    room.queue.serve()
    await turn()
    assert all(one.has_one for one in waiting)


async def test_room_that_others_made_is_noticed_without_being_told() -> None:
    room = FakeRoom(0)
    (waiting,) = await asked(room, 0)
    room.places = 1
    async with asyncio.timeout(5):
        assert await waiting.task
    (again,) = await asked(room, 0)
    waiting.lease.release()
    async with asyncio.timeout(5):
        assert await again.task


async def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    room = FakeRoom(0, queue=2)
    *_, third = await asked(room, 0, 0, 0)
    error = third.task.exception()
    assert isinstance(error, QueueFull)
    assert error.retry_after_s == 6.0
    assert room.fake.refused == ["queue_full"]
    assert room.fake.depth == 2


async def test_no_queue_at_all_refuses_at_once() -> None:
    room = FakeRoom(0, queue=0)
    (one,) = await asked(room, 0)
    assert isinstance(one.task.exception(), QueueFull)


async def test_who_waits_too_long_is_told_so_and_is_forgotten() -> None:
    room = FakeRoom(0, queue_timeout_s=0.01)
    (one,) = await asked(room, 0)
    with pytest.raises(QueueTimeout) as late:
        await one.task
    assert late.value.retry_after_s is not None
    assert room.fake.refused == ["queue_timeout"]
    assert (room.fake.depth, len(room.queue), one.client.listener) == (0, 0, None)


@pytest.mark.parametrize(("tried", "refused"), [((), ["no_replica"]), (("r",), [])])
async def test_where_nothing_can_come_nobody_waits(tried: tuple[str, ...], refused: list[str]) -> None:
    room = FakeRoom(0)
    room.hopeless = True
    with pytest.raises(NoReplica) as refusal:
        await room.queue.lease(cast("ClientConnection", FakeClient()), "m", tried, 0)
    assert refusal.value.retry_after_s == 5.0
    # A request that has already failed elsewhere is not refused: it has failed.
    assert room.fake.refused == refused


async def test_a_client_that_leaves_the_queue_leaves_no_trace() -> None:
    room = FakeRoom(0)
    first, second = await asked(room, 0, 0)
    first.client.leave()
    await turn()
    assert isinstance(first.task.exception(), ClientGone)
    assert (room.fake.depth, len(room.queue)) == (1, 1)
    room.places = 1
    room.queue.serve()
    await turn()
    assert second.has_one


async def test_a_place_is_not_given_to_a_client_that_left_a_moment_ago() -> None:
    room = FakeRoom(0)
    first, second = await asked(room, 0, 0)
    room.places = 1
    first.client.leave()
    room.queue.serve()
    await turn()
    assert isinstance(first.task.exception(), ClientGone)
    assert second.has_one


async def test_a_client_that_was_gone_before_it_could_wait_does_not() -> None:
    room = FakeRoom(0)
    client = FakeClient()
    client.gone = True
    with pytest.raises(ClientGone):
        await room.queue.lease(cast("ClientConnection", client), "m", NOBODY, 0)
    assert (room.fake.depth, len(room.queue)) == (0, 0)


async def test_a_lease_granted_in_the_moment_its_client_leaves_is_not_lost() -> None:
    """It goes to whoever asked, who finds the client gone at the next step and gives it back."""
    room = FakeRoom(0)
    (one,) = await asked(room, 0)
    room.places = 1
    room.queue.serve()
    one.client.leave()
    await turn()
    one.lease.release()
    assert room.given == []


async def test_a_lease_granted_in_the_moment_its_wait_ends_is_given_back() -> None:
    room = FakeRoom(0)
    one, other = await asked(room, 0, 0)
    room.places = 1
    room.queue.serve()
    one.task.cancel()
    await turn()
    assert one.task.cancelled()
    assert other.has_one
    assert len(room.given) == 1


class Queueing(RuleBasedStateMachine):
    """Any order of asking, giving back, leaving, cancelling and looking."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.room = self.run(self._room())
        self.waiting: list[Waiting] = []
        self.asked = 0

    async def _room(self) -> FakeRoom:
        return FakeRoom(2, queue=4)

    def run(self, work: Any) -> Any:
        async def then_settle() -> Any:
            result = await work
            await turn()
            return result

        return self.runner.run(then_settle())

    async def _ask(self, priority: int) -> None:
        self.waiting.append(Waiting(self.room, priority))
        self.asked += 1

    @rule(priority=st.integers(-1, 1))
    def ask(self, priority: int) -> None:
        self.run(self._ask(priority))

    @rule(priority=st.integers(-1, 1))
    def ask_and_leave_at_once(self, priority: int) -> None:
        async def both() -> None:
            await self._ask(priority)
            self.waiting[-1].client.leave()

        self.run(both())

    @precondition(lambda self: self.room.given)
    @rule(data=st.data(), leaver=st.sampled_from(["nobody", "before", "after"]))
    def give_back(self, data: st.DataObject, leaver: str) -> None:
        lease = data.draw(st.sampled_from(self.room.given))

        async def release() -> None:
            # One leaves in the same moment in which the place may go to it.
            first = self.queued()[:1]
            for one in first if leaver == "before" else ():
                one.client.leave()
            lease.release()
            for one in first if leaver == "after" else ():
                one.client.leave()

        self.run(release())

    @precondition(lambda self: self.queued())
    @rule(data=st.data(), cancelled=st.booleans())
    def leave(self, data: st.DataObject, cancelled: bool) -> None:  # noqa: FBT001
        one = data.draw(st.sampled_from(self.queued()))

        async def go() -> None:
            if cancelled:
                one.task.cancel()
            else:
                one.client.leave()

        self.run(go())

    @rule(places=st.integers(0, 3))
    def room_changes(self, places: int) -> None:
        self.room.places = places

        async def look() -> None:
            self.room.queue.serve()

        self.run(look())

    def queued(self) -> list[Waiting]:
        return [one for one in self.waiting if not one.task.done()]

    @invariant()
    def nothing_is_lost(self) -> None:
        # Who holds a place and has left gives it back, as the dispatcher does.
        for one in self.waiting:
            if one.has_one and one.client.gone:
                self.run(self._release(one))
        held = [one for one in self.waiting if one.has_one and one.lease.open]
        assert len(held) == len(self.room.given)
        assert len(self.queued()) == len(self.room.queue) == self.room.fake.depth
        assert len(self.queued()) <= 4
        assert not (self.queued() and len(self.room.given) < self.room.places)

    async def _release(self, one: Waiting) -> None:
        if one.lease.open:
            one.lease.release()

    def teardown(self) -> None:
        async def end() -> None:
            for one in self.queued():
                one.task.cancel()
            await asyncio.gather(*(one.task for one in self.waiting), return_exceptions=True)
            while (looking := self.room.queue._looking) and not looking.done():  # noqa: ASYNC110 - it ends by itself
                await asyncio.sleep(0.001)

        self.run(end())
        assert (self.room.fake.depth, len(self.room.queue)) == (0, 0)
        self.runner.close()


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
