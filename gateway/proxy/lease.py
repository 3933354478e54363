"""One replica as a worker holds it, and the leases on it.

A lease is the only way to reach a replica. It is taken in the same synchronous step as the choice, so no
other request can come between the decision and the count, and it is given back once, whatever happens.
"""

import time
from collections.abc import Sized
from dataclasses import replace
from typing import Protocol

from gateway.fleet.ejection import Standing, failed, succeeded
from gateway.fleet.snapshot import Ejection, Replica, State
from gateway.proxy.upstream.pool import ConnectionPool
from gateway.telemetry.layout import Shared
from gateway.telemetry.meters import ReplicaMeter
from gateway.telemetry.scoreboard import NS, Scoreboard


class LiveReplica:
    """One replica with its connections. `view` is replaced by every snapshot, the rest stays."""

    __slots__ = ("_board", "authorization", "connections", "meter", "served_by", "view")

    def __init__(self, view: Replica, board: Scoreboard, meter: ReplicaMeter) -> None:
        self._board = board
        self.meter = meter
        self.connections = ConnectionPool(view.id, meter)
        self.served_by = b"x-served-by: " + view.id.partition("://")[2].encode("ascii", "replace") + b"\r\n"
        self.update(view)

    @property
    def last_byte_at(self) -> float:
        """When any of its answers moved last, over all workers; seconds of the monotonic clock."""
        return self._board.cells[self._board.layout.shared(self.view.slot) + Shared.LAST_BYTE] / NS

    def is_well(self) -> bool:
        """Whether both probes and requests speak well of it."""
        good = self._board.standing(self.view.slot, time.monotonic()) is Standing.GOOD
        return good and self.view.state is State.UP

    def failed(self, rules: Ejection) -> None:
        """A request failed by this replica's fault: note it where all workers see it."""
        now = time.monotonic()
        marks, ejected = failed(self._board.marks(self.view.slot), now, rules)
        self._board.set_marks(self.view.slot, marks)
        self.meter.failure()
        if ejected is not None:
            self.meter.ejection(ejected)

    def succeeded(self) -> None:
        """A request went well."""
        if self._board.has_marks(self.view.slot):
            now = time.monotonic()
            self._board.set_marks(self.view.slot, succeeded(self._board.marks(self.view.slot), now))

    def undecided(self) -> None:
        """A request ended by its client's doing: if it was the trial, another one may be it."""
        marks = self._board.marks(self.view.slot)
        if marks.trial_since:
            self._board.set_marks(self.view.slot, replace(marks, trial_since=0.0))

    def update(self, view: Replica) -> None:
        """Take over what a newer snapshot says."""
        self.view = view
        self.authorization = (
            b""
            if view.authorization is None
            else b"authorization: " + view.authorization.encode("latin-1") + b"\r\n"
        )


class Queue(Protocol):
    """The queue of that pool."""

    @property
    def waiting(self) -> Sized:
        """Those in it."""
        ...


class Room(Protocol):
    """The pool that a lease is of."""

    @property
    def queue(self) -> Queue:
        """Who waits for room."""
        ...

    def make_room(self) -> None:
        """A lease ended while somebody waits."""
        ...


class Lease:
    """One outstanding request. `release` gives it back; calling it again does nothing."""

    __slots__ = ("_open", "_room", "replica")

    def __init__(self, replica: LiveReplica, room: Room) -> None:
        self._room = room
        self._open = True
        self.replica = replica

    def release(self) -> None:
        """The request has ended."""
        if self._open:
            self._open = False
            self.replica.meter.ended()
            if self._room.queue.waiting:
                self._room.make_room()

    def give_back(self) -> None:
        """The request was not sent after all."""
        if self._open:
            self._open = False
            self.replica.meter.step_back()
            self.replica.undecided()
            if self._room.queue.waiting:
                self._room.make_room()
