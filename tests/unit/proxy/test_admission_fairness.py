"""A long queue costs little to serve, and a waiter with a past does not hold up those without one."""

import asyncio
from collections.abc import Collection
from typing import cast

import pytest

from gateway.proxy.admission import Waiter
from gateway.proxy.client import ClientConnection
from gateway.proxy.lease import Lease
from tests.unit.proxy.rooms import FakeClient, FakeRoom, asked, turn


class OneReplica(FakeRoom):
    """Has nothing for those who tried its only replica."""

    def lease(self, upstream_name: str, tried: Collection[str]) -> Lease | None:
        return None if tried else super().lease(upstream_name, tried)


async def test_an_ending_costs_no_look_at_every_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    room = FakeRoom(1)
    first, *others = await asked(room, *(0 for _ in range(200)))
    comparisons = 0

    def counted(one: Waiter, other: Waiter) -> bool:
        nonlocal comparisons
        comparisons += 1
        return one.key < other.key

    monkeypatch.setattr(Waiter, "__lt__", counted)
    first.lease.release()
    assert comparisons < 50
    await turn()
    assert others[0].has_one
    assert len(room.queue) == 198


async def test_one_that_failed_where_there_is_room_does_not_hold_up_the_others() -> None:
    """Its turn comes when another replica has room; theirs is now."""
    room = OneReplica(0)
    client = cast("ClientConnection", FakeClient())
    failed = asyncio.ensure_future(room.queue.lease(client, "m", ("r",), 0))
    await turn()
    (other,) = await asked(room, 0)
    room.places = 1
    room.queue.serve()
    await turn()
    assert other.has_one
    assert not failed.done()
    failed.cancel()
    await turn()
    assert len(room.queue) == 0
