"""The queue of a pool: nobody is lost, nobody overtakes, and nothing is kept that nobody waits for."""

import asyncio
from typing import cast

import pytest

from gateway.proxy.client import ClientConnection
from gateway.proxy.errors import ClientGone, NoReplica, QueueFull, QueueTimeout
from tests.unit.proxy.rooms import NOBODY, FakeClient, FakeRoom, Waiting, asked, turn


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


async def test_the_pool_hears_when_waiting_begins_and_of_each_turn() -> None:
    room = FakeRoom(1)
    first, second, third = await asked(room, 0, 0, 0)
    assert room.told == ["waiting"]
    for served in (first, second):
        served.lease.release()
        await turn()
    assert room.told == ["waiting", "turn", "turn"]
    third.lease.release()
    await asked(room, 0, 0)
    assert room.told == ["waiting", "turn", "turn", "waiting"]


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
