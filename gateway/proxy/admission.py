"""Waiting for a replica with room: a bounded queue for each pool.

Each worker queues what it accepted itself. Room made in this worker goes to its own waiters at once; room
made in another worker is noticed by looking at the scoreboard every few milliseconds, and only while
somebody waits.
"""

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Collection
from typing import Protocol

from gateway.fleet.snapshot import Limits
from gateway.proxy.client import ClientConnection
from gateway.proxy.errors import ClientGone, NoReplica, QueueFull, QueueTimeout
from gateway.proxy.lease import Lease
from gateway.telemetry.meters import PoolMeter

NO_REPLICA_RETRY_S = 5.0
"""What `Retry-After` says when nobody is there: a few probes later things may look different."""
LOOK_S = 0.01
"""How often waiters look for room that other workers made."""


class Waiter:
    """One request in the queue. Lower priority values are served first, equal ones in order of arrival."""

    __slots__ = ("key", "lease", "tried", "upstream_name")

    def __init__(self, key: tuple[int, int], upstream_name: str, tried: Collection[str]) -> None:
        self.key = key
        self.upstream_name = upstream_name
        self.tried = tried
        self.lease: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    def __lt__(self, other: "Waiter") -> bool:
        return self.key < other.key

    def client_gone(self) -> None:
        """A waiter whose client left disappears."""
        if not self.lease.done():
            self.lease.set_exception(ClientGone("the client left the queue"))

    def abandon(self) -> None:
        """Nobody waits any more. A lease that was granted in the same moment is given back."""
        if self.lease.done() and not self.lease.cancelled() and self.lease.exception() is None:
            self.lease.result().release()
        self.lease.cancel()

    def pause_reading(self) -> None:
        """Nothing is being read yet."""

    def resume_reading(self) -> None:
        """Nothing is being read yet."""


class Room(Protocol):
    """The pool whose room is waited for."""

    meter: PoolMeter

    @property
    def limits(self) -> Limits:
        """The admission limits that hold now."""
        ...

    def lease(self, upstream_name: str, tried: Collection[str]) -> Lease | None:
        """A lease at once, or None."""
        ...

    def worth_waiting(self, upstream_name: str, tried: Collection[str]) -> bool:
        """Whether room may come."""
        ...

    def queued(self) -> int:
        """Requests waiting for this pool, over all workers."""
        ...

    def seconds_until_room(self, position: int) -> float:
        """When a request at `position` of the queue may expect its turn."""
        ...

    def begin_waiting(self) -> None:
        """Somebody waits, and nobody did before."""
        ...

    def note_turn(self) -> None:
        """Somebody who waited got a lease."""
        ...


class PoolQueue:
    """The waiters of one pool in this worker."""

    def __init__(self, pool: Room) -> None:
        self._pool = pool
        self.waiting: list[Waiter] = []
        self._order = itertools.count()
        self._names: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self.waiting)

    async def lease(
        self, client: ClientConnection, upstream_name: str, tried: Collection[str], priority: int
    ) -> Lease:
        """A lease, at once if there is room and nobody waits, else in turn.

        Raises:
            NoReplica: nobody can serve the name, now or soon.
            QueueFull, QueueTimeout: as they say.
            ClientGone: the client left the queue.
        """
        if not self.waiting:
            lease = self._pool.lease(upstream_name, tried)
            if lease is not None:
                return lease
        if not self._pool.worth_waiting(upstream_name, tried):
            if not tried:
                # With attempts behind it the request is not refused for this: it has failed.
                self._pool.meter.shed("no_replica")
            raise NoReplica(
                f"No replica of the model `{upstream_name}` is available right now.",
                retry_after_s=NO_REPLICA_RETRY_S,
            )
        return await self._wait(client, Waiter((priority, next(self._order)), upstream_name, tried))

    async def _wait(self, client: ClientConnection, waiter: Waiter) -> Lease:
        limits, meter = self._pool.limits, self._pool.meter
        if self._pool.queued() >= limits.queue:
            meter.shed("queue_full")
            raise QueueFull(
                "All replicas are busy and the queue is full. Please retry later.",
                retry_after_s=self._pool.seconds_until_room(len(self.waiting) + 1),
            )
        started = time.monotonic()
        if not self.waiting:
            self._pool.begin_waiting()
        heapq.heappush(self.waiting, waiter)
        self._names[waiter.upstream_name] += 1
        meter.queued(+1)
        self._look()
        try:
            client.listen(waiter)
            async with asyncio.timeout(limits.queue_timeout_s):
                return await waiter.lease
        except BaseException as error:
            waiter.abandon()
            if not isinstance(error, TimeoutError):
                raise
            meter.shed("queue_timeout")
            raise QueueTimeout(
                f"No replica had room within {limits.queue_timeout_s:g} s. Please retry later.",
                retry_after_s=self._pool.seconds_until_room(len(self.waiting)),
            ) from None
        finally:
            meter.queued(-1)
            self._names -= Counter((waiter.upstream_name,))
            meter.queue_wait.observe(time.monotonic() - started)
            client.listener = None
            if waiter in self.waiting:
                self.waiting.remove(waiter)
                heapq.heapify(self.waiting)

    def serve(self) -> None:
        """Give room that there is to those who wait, first come first served.

        Stops as soon as nobody further back can be better off: with a long queue, each ending must not cost a
        look at every waiter.
        """
        full: set[str] = set()
        passed_over: list[Waiter] = []
        while self.waiting and len(full) < len(self._names):
            waiter = heapq.heappop(self.waiting)
            if waiter.lease.done():
                continue
            lease = None
            if waiter.upstream_name not in full:
                lease = self._pool.lease(waiter.upstream_name, waiter.tried)
            if lease is not None:
                waiter.lease.set_result(lease)
                self._pool.note_turn()
                continue
            passed_over.append(waiter)
            if not waiter.tried:
                # One that may not go back to a replica says nothing of the others.
                full.add(waiter.upstream_name)
        for waiter in passed_over:
            heapq.heappush(self.waiting, waiter)

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_on())

    async def _look_on(self) -> None:
        while self.waiting:
            await asyncio.sleep(LOOK_S)
            self.serve()
