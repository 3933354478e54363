"""A worker's living side of the snapshot: pools that hand out leases, and the names that lead to them."""

import time
from collections.abc import Collection
from random import Random

from gateway.fleet.balance import least_outstanding
from gateway.fleet.ejection import Standing, on_trial
from gateway.fleet.routing import Candidates, Rules, choose
from gateway.fleet.snapshot import Limits, ModelName, Pool, Replica, Snapshot
from gateway.proxy.admission import PoolQueue
from gateway.proxy.lease import Lease, LiveReplica
from gateway.telemetry.meters import PoolMeter, ReplicaMeter
from gateway.telemetry.scoreboard import Scoreboard

Destination = tuple["LivePool", ModelName]


class LivePool:
    """One pool: which of its replicas takes the next request."""

    def __init__(self, view: Pool, board: Scoreboard, worker: int, rng: Random) -> None:
        self.meter = PoolMeter(board, worker, view.slot)
        self.replicas: dict[str, LiveReplica] = {}
        self.queue = PoolQueue(self)
        self._board = board
        self._worker = worker
        self._rng = rng
        self._turn = rng.randrange(1 << 16)  # workers that start together must not go round in step
        self._rules = Rules(0.5, None)
        self._between_turns_s = 0.0
        self._waited_since = 0.0
        self._candidates: dict[str, Candidates] = {}
        self.view = view

    def update(self, view: Pool, panic_threshold: float) -> None:
        """Take over what a newer snapshot says; replicas that are gone finish what they are doing."""
        wanted = {replica.id: replica for replica in view.replicas}
        for gone in self.replicas.keys() - wanted.keys():
            self.replicas.pop(gone).connections.close()
        for id_, replica in wanted.items():
            if live := self.replicas.get(id_):
                live.update(replica)
            else:
                meter = ReplicaMeter(self._board, self._worker, replica.slot)
                self.replicas[id_] = LiveReplica(replica, self._board, meter)
        self.view = view
        self._candidates.clear()
        self._rules = Rules(panic_threshold, view.limits.outstanding_per_replica)

    @property
    def limits(self) -> Limits:
        """The admission limits that hold now."""
        return self.view.limits

    def candidates(self, upstream_name: str) -> Candidates:
        """The replicas that know the name, prepared once a snapshot."""
        found = self._candidates.get(upstream_name)
        if found is None:
            found = self._candidates[upstream_name] = Candidates.of(self.view.replicas, upstream_name)
        return found

    def lease(self, upstream_name: str, tried: Collection[str] = ()) -> Lease | None:
        """Choose a replica and count the request on it, or None when nobody can take it now."""
        candidates = self._candidates.get(upstream_name) or self.candidates(upstream_name)
        if candidates.calm and not tried:
            # Nearly every request: nothing is doubted, so only the loads differ.
            loads = self._board.calm_loads(candidates.slots)
            if loads is not None:
                self._turn += 1
                index = least_outstanding(loads, candidates.weights, self._turn)
                lease = self._take(candidates.ready[index])
                if lease is not None:
                    return lease
        return self._lease_with_care(candidates, tried)

    def _take(self, view: Replica) -> Lease | None:
        """Count a request on the replica, unless that would be one too many."""
        replica = self.replicas[view.id]
        replica.meter.dispatched()
        cap = self._rules.cap
        if cap is None or self._board.outstanding(view.slot) <= cap:
            return Lease(replica, self)
        # It is full, or another worker reserved at the same time: both step back rather than go over the cap.
        replica.meter.step_back()
        return None

    def _lease_with_care(self, candidates: Candidates, tried: Collection[str]) -> Lease | None:
        while True:
            self._turn += 1
            now = time.monotonic()
            chosen = choose(candidates, self._board, self._rules, tried, now, self._turn, self._rng)
            if chosen is None:
                return None
            lease = self._take(chosen)
            if lease is not None:
                if self._board.standing(chosen.slot, now) is Standing.TRIAL:
                    self._board.set_marks(chosen.slot, on_trial(self._board.marks(chosen.slot), now))
                return lease
            tried = {*tried, chosen.id}

    def worth_waiting(self, upstream_name: str, tried: Collection[str]) -> bool:
        """Whether a replica that could serve the name is full or still starting, and not just missing."""
        candidates = self.candidates(upstream_name)
        if candidates.starting:
            return True
        usable, _ = candidates.usable(self._board, time.monotonic(), self._rules.panic_threshold)
        return self._rules.cap is not None and any(r.id not in tried for r in usable)

    def all_tried(self, upstream_name: str, tried: Collection[str]) -> bool:
        """Whether no replica is up that was not tried."""
        return all(replica.id in tried for replica in self.candidates(upstream_name).ready)

    def queued(self) -> int:
        """Requests waiting for this pool, over all workers."""
        return self._board.queued(self.view.slot)

    def seconds_until_room(self, position: int) -> float:
        """When a request at `position` of the queue may expect its turn, by how fast turns came lately."""
        between_s = self._between_turns_s
        if self.queue.waiting:
            # Nobody may have had one for longer than usual, or ever.
            between_s = max(between_s, time.monotonic() - self._waited_since)
        return min(max(position * between_s, 1.0), 60.0)

    def begin_waiting(self) -> None:
        """Somebody waits, and nobody did before: the time in which nobody wanted a turn says nothing."""
        self._waited_since = time.monotonic()

    def note_turn(self) -> None:
        """Somebody who waited got a lease."""
        now = time.monotonic()
        between_s = now - self._waited_since
        self._waited_since = now
        if self._between_turns_s:
            between_s = self._between_turns_s * 0.9 + between_s * 0.1
        self._between_turns_s = between_s

    def make_room(self) -> None:
        """A lease ended while somebody waits."""
        self.queue.serve()

    def close(self) -> None:
        """The pool is gone from the snapshot."""
        for replica in self.replicas.values():
            replica.connections.close()


class LiveFleet:
    """All pools of this worker, and the names that lead to them."""

    def __init__(self, board: Scoreboard, worker: int, rng: Random) -> None:
        self._board = board
        self._worker = worker
        self._rng = rng
        self.snapshot = Snapshot(number=0)
        self.pools: dict[str, LivePool] = {}
        self.routes: dict[str, Destination] = {}
        """Where each model name leads."""
        self.only_route: Destination | None = None
        """Where a request leads that names no model: to the only pool there is, as vLLM would have it."""

    def apply(self, snapshot: Snapshot) -> None:
        """Make a newer snapshot the picture that requests are routed by; older ones are ignored."""
        if snapshot.number <= self.snapshot.number:
            return
        for gone in self.pools.keys() - snapshot.pools.keys():
            self.pools.pop(gone).close()
        for name, view in snapshot.pools.items():
            pool = self.pools.get(name)
            if pool is None:
                pool = self.pools[name] = LivePool(view, self._board, self._worker, self._rng)
            pool.update(view, snapshot.ejection.panic_threshold)
        self.snapshot = snapshot
        self.routes = {name: (self.pools[entry.pool], entry) for name, entry in snapshot.names.items()}
        self.only_route = self.routes.get(next(iter(self.pools))) if len(self.pools) == 1 else None
        for pool in self.pools.values():
            pool.queue.serve()

    def sweep(self, now: float) -> None:
        """Close connections that have been idle for too long; `now` is monotonic."""
        for pool in self.pools.values():
            for replica in pool.replicas.values():
                replica.connections.sweep(now)
