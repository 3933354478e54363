"""Any order of asking, giving back, leaving and looking: no waiter and no place is lost."""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.proxy.rooms import FakeRoom, Waiting, turn


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
