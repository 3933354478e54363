"""From a model name to the replica that takes the next request.

`Candidates` is the part of a pool that can answer one model name, prepared once per snapshot, so that
a request pays only for what changes between two requests: loads, ejections, and what it already tried.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from gateway.fleet.balance import SCAN_LIMIT, least_outstanding, two_choices
from gateway.fleet.ejection import Standing
from gateway.fleet.snapshot import Replica, State


class Board(Protocol):
    """What routing reads from the scoreboard."""

    def outstanding(self, slot: int) -> int:
        """Requests running on the replica, over all workers."""
        ...

    def standing(self, slot: int, now: float) -> Standing:
        """How passive health sees the replica at `now`, in seconds of the monotonic clock."""
        ...


@dataclass(frozen=True, slots=True)
class Candidates:
    """The replicas of one pool that know one model name.

    `ready` are up and not draining. `doubtful` are what panic falls back on besides: replicas whose probes
    time out, or, where there is nothing better at all, those that answer 5xx. Refused ports are in neither,
    and neither are hung engines: a probe can be wrong, but these were seen to have work and not to move.
    """

    ready: tuple[Replica, ...]
    doubtful: tuple[Replica, ...]
    weighted: bool
    starting: bool
    slots: tuple[int, ...]
    """The slots of `ready`, in their order."""
    weights: tuple[float, ...] | None
    """The weights of `ready`; None when all are equal."""
    calm: bool
    """No replica is doubted, and there are few enough for a full scan."""

    @classmethod
    def of(cls, replicas: Sequence[Replica], upstream_name: str) -> "Candidates":
        """Prepare the candidates for `upstream_name`.

        A replica whose models were never read (it was never up) is no candidate: it may serve anything.
        """
        mine = [r for r in replicas if upstream_name in r.models and not (r.draining or r.hung)]
        ready, unresponsive, failing = (
            tuple(r for r in mine if r.state is state)
            for state in (State.UP, State.UNRESPONSIVE, State.FAILING)
        )
        doubtful = unresponsive or (() if ready else failing)
        weighted = len({r.weight for r in mine}) > 1
        return cls(
            ready=ready,
            doubtful=doubtful,
            weighted=weighted,
            weights=tuple(r.weight for r in ready) if weighted else None,
            calm=0 < len(ready) <= SCAN_LIMIT and not doubtful,
            starting=not mine and any(r.state is State.STARTING and not r.draining for r in replicas),
            slots=tuple(r.slot for r in ready),
        )

    def usable(self, board: Board, now: float, panic_threshold: float) -> tuple[Sequence[Replica], bool]:
        """The replicas that may be asked now, and whether this is panic.

        When fewer than `panic_threshold` of them look healthy, health is no longer believed (Envoy's panic
        mode): a probe that fails everywhere says more about the probe (llm-d-benchmark#1734), and all the
        traffic on few survivors would only bring those down as well.
        """
        healthy = [r for r in self.ready if board.standing(r.slot, now) is not Standing.OUT]
        everyone = len(self.ready) + len(self.doubtful)
        if healthy and len(healthy) >= panic_threshold * everyone:
            return healthy, False
        return (*self.ready, *self.doubtful), everyone > 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What narrows a choice: `cap` is the most outstanding requests a replica may have, None for no cap."""

    panic_threshold: float
    cap: int | None


def choose(
    candidates: Candidates,
    board: Board,
    rules: Rules,
    tried: Collection[str],
    now: float,
    turn: int,
    rng: Random,
) -> Replica | None:
    """The replica for the next attempt, or None when every one is full, tried or unusable.

    Replicas that failed a request a moment ago come last: one that fails fast is always idle, and least
    outstanding would send it everything (olla#144).
    """
    usable, panic = candidates.usable(board, now, rules.panic_threshold)
    if tried:
        usable = [r for r in usable if r.id not in tried]
    if len(usable) > SCAN_LIMIT:
        picked = _of_two(usable, board, rules.cap, now, rng)
        if picked is not None:
            return picked
    loads = [board.outstanding(r.slot) for r in usable]
    if rules.cap is not None:
        usable, loads = _with_room(usable, loads, rules.cap)
    trusted = [i for i, r in enumerate(usable) if board.standing(r.slot, now) < Standing.PENALISED]
    if panic and tried:
        # One that has failed already goes where all is well, if there is such a place.
        trusted = [i for i in trusted if usable[i].state is State.UP] or trusted
    if trusted and len(trusted) < len(usable):
        usable = [usable[i] for i in trusted]
        loads = [loads[i] for i in trusted]
    if not usable:
        return None
    weights = [r.weight for r in usable] if candidates.weighted else None
    return usable[least_outstanding(loads, weights, turn)]


def _with_room(usable: Sequence[Replica], loads: list[int], cap: int) -> tuple[Sequence[Replica], list[int]]:
    kept = [(r, n) for r, n in zip(usable, loads, strict=True) if n < cap]
    return [r for r, _ in kept], [n for _, n in kept]


def _of_two(
    usable: Sequence[Replica], board: Board, cap: int | None, now: float, rng: Random
) -> Replica | None:
    """Power of two choices; None sends the caller to the full scan, when both drawn are full or failing."""

    def cost(replica: Replica) -> tuple[bool, float]:
        load = board.outstanding(replica.slot)
        full = cap is not None and load >= cap
        failing = board.standing(replica.slot, now) >= Standing.PENALISED
        return full or failing, (load + 1) / replica.weight

    first, second = (usable[i] for i in two_choices(len(usable), rng))
    best = _cheaper(first, second, cost)
    return None if cost(best)[0] else best


def _cheaper(a: Replica, b: Replica, cost: Callable[[Replica], tuple[bool, float]]) -> Replica:
    return a if cost(a) <= cost(b) else b
