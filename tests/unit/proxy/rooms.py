"""A pool that is nothing but room, and those who ask for it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from gateway.fleet.snapshot import Limits
from gateway.proxy.admission import PoolQueue
from gateway.proxy.client import ClientConnection
from gateway.proxy.errors import ClientGone
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
        self.told: list[str] = []
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

    def begin_waiting(self) -> None:
        self.told.append("waiting")

    def note_turn(self) -> None:
        self.told.append("turn")


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
