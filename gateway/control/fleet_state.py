"""The one owner of what is known about the fleet, and of the picture of it that workers get.

Whoever learns something says it here; nobody else keeps a copy. Changes of one turn of the event loop become
one snapshot, and what changes nothing becomes none.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from gateway.control.admin.source import UnknownReplica
from gateway.control.declared import Plan
from gateway.control.engine import EngineStats
from gateway.control.journal import Journal
from gateway.control.probes import Outcome
from gateway.control.upkeep import SlotKeeper
from gateway.fleet.catalogue import assemble, draw
from gateway.fleet.ejection import Marks
from gateway.fleet.health import Health, Probe, observe
from gateway.fleet.observation import Observation, Owner, ServedModel
from gateway.fleet.snapshot import Snapshot, State
from gateway.telemetry.scoreboard import Scoreboard


@dataclass(frozen=True, slots=True)
class Known:
    """Everything known about one replica. `latency_s` is that of the last successful probe."""

    seen: Observation
    latency_s: float | None = None
    engine: EngineStats | None = None
    hung_count: int = 0


class FleetState:
    """The fleet as control knows it. All methods belong to the event loop's thread.

    `now` is the monotonic clock, in seconds.
    """

    def __init__(
        self, board: Scoreboard, journal: Journal, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._board = board
        self._journal = journal
        self._now = now
        self._plan = Plan()
        self._known: dict[str, Known] = {}
        self._slots = SlotKeeper(board, now)
        self._subscribers: list[Callable[[Snapshot], None]] = []
        self._settling: asyncio.Handle | None = None
        self.snapshot = Snapshot(number=0)
        self.warnings: tuple[str, ...] = ()
        self.judged = asyncio.Event()
        """Set once every replica has had its first verdict, but for those that are being launched."""

    # -- reading --

    @property
    def known(self) -> Sequence[Known]:
        """All replicas, in listing order."""
        return tuple(self._known.values())

    @property
    def slots(self) -> Mapping[str, int]:
        """The replicas' columns on the scoreboard, by URL."""
        return self._slots.replicas

    @property
    def plan(self) -> Plan:
        return self._plan

    def find(self, url: str) -> Known:
        """Raises `UnknownReplica`."""
        try:
            return self._known[url]
        except KeyError:
            raise UnknownReplica(f"there is no replica {url}") from None

    def subscribe(self, callback: Callable[[Snapshot], None]) -> None:
        """Call back with every new snapshot."""
        self._subscribers.append(callback)

    # -- who is in the fleet --

    def declare(self, plan: Plan) -> None:
        """Make the fleet what the configuration says. Who stays keeps what was learnt about it."""
        fleet = {spec.url: self._merged(spec) for spec in plan.replicas}
        for url, known in self._known.items():
            if known.seen.owner is Owner.LAUNCHED:
                fleet.setdefault(url, known)
        self._plan, self._known = plan, fleet
        self._changed()

    def add(self, replica: Observation) -> None:
        """A server is launched. It stays, whatever a new configuration says."""
        self._known[replica.url] = self._merged(replica)
        self._changed()

    def _merged(self, spec: Observation) -> Known:
        old = self._known.get(spec.url)
        if old is None:
            return Known(replace(spec, health=Health(since=self._now())))
        seen = replace(spec, health=old.seen.health, models=old.seen.models, draining=old.seen.draining)
        return replace(old, seen=seen)

    # -- what is learnt about a replica; one that was removed meanwhile is ignored --

    def probed(self, url: str, outcome: Outcome) -> None:
        """A probe had this outcome."""
        if (known := self._known.get(url)) is not None:
            self._judge(url, known, outcome)

    def welcome(self, url: str, models: tuple[ServedModel, ...], outcome: Outcome) -> None:
        """A replica that was not up answered its probe, and its models were read: up, in one step."""
        if (known := self._known.get(url)) is None:
            return
        if known.seen.health.state in {State.REFUSED, State.FAILING, State.STARTING}:
            # It was restarted, or it says itself that it is well again: old failures say nothing now.
            self._set_marks(url, Marks())
            known = replace(known, seen=replace(known.seen, hung=False))
        self._judge(url, self._with_models(known, models), outcome)

    def listed(self, url: str, models: tuple[ServedModel, ...]) -> None:
        """A replica that is up was asked again what it serves."""
        if (known := self._known.get(url)) is not None:
            self._known[url] = self._with_models(known, models)
            if models != known.seen.models:
                self._changed()

    def measured(self, url: str, engine: EngineStats | None) -> None:
        """The replica's own metrics were read; None when they could not be."""
        if (known := self._known.get(url)) is not None:
            self._known[url] = replace(known, engine=engine)

    def loading(self, url: str, doing: str) -> None:
        """A launched server is being started, first or again. Until it answers, refusals say nothing."""
        if (known := self._known.get(url)) is not None:
            before = known.seen.health
            starting = before.state is State.STARTING
            self._known[url] = self._with_health(
                known, Health(since=before.since if starting else self._now(), reason=doing)
            )
            if not starting:
                self._changed()

    def given_up(self, url: str, why: str) -> None:
        """A launched server will not be started again."""
        if (known := self._known.get(url)) is not None:
            self._known[url] = self._with_health(known, Health(State.REFUSED, self._now(), why))
            self._changed()

    def _with_health(self, known: Known, health: Health) -> Known:
        return replace(known, seen=replace(known.seen, health=health), engine=None)

    def _judge(self, url: str, known: Known, outcome: Outcome) -> None:
        before = known.seen.health
        launched = known.seen.owner is Owner.LAUNCHED
        if launched and before.state is State.STARTING and outcome.probe is not Probe.OK:
            return  # whoever launched it knows more
        health = observe(before, outcome.probe, outcome.detail, self._now(), self._plan.fall)
        latency_s = outcome.latency_s if outcome.probe is Probe.OK else known.latency_s
        engine = known.engine if health.state is State.UP else None
        self._known[url] = replace(
            known, seen=replace(known.seen, health=health), latency_s=latency_s, engine=engine
        )
        if health.state is not before.state:
            self._tell_verdict(known.seen, health)
            self._changed()

    def _tell_verdict(self, seen: Observation, health: Health) -> None:
        up = health.state is State.UP
        self._journal.note(
            "replica_up" if up else "replica_down",
            "is up" if up else f"is {health.state}: {health.reason}",
            model=seen.pool or "",
            replica=seen.url,
            level=logging.INFO if up else logging.WARNING,
        )

    def _with_models(self, known: Known, models: tuple[ServedModel, ...]) -> Known:
        before = {model.id for model in known.seen.models or ()}
        after = {model.id for model in models}
        if known.seen.models is not None and before != after:
            changes = [f"+{name}" for name in sorted(after - before)]
            changes += [f"-{name}" for name in sorted(before - after)]
            self._journal.note(
                "models_changed", f"its models changed: {' '.join(changes)}", replica=known.seen.url
            )
        return replace(known, seen=replace(known.seen, models=models))

    # -- drain and hang --

    def set_draining(self, url: str, *, draining: bool) -> None:
        """Keep new requests away from a replica, or stop doing so. Raises `UnknownReplica`."""
        known = self.find(url)
        if known.seen.draining != draining:
            self._known[url] = replace(known, seen=replace(known.seen, draining=draining))
            kind, words = (
                ("drain", "gets no new requests") if draining else ("undrain", "gets requests again")
            )
            self._journal.note(kind, words, model=known.seen.pool or "", replica=url)
            self._changed()

    def set_hung(self, url: str, *, hung: bool, silent_s: float = 0.0) -> None:
        """The replica's engine was found hung, or moves again. The ejection itself is on the scoreboard."""
        known = self._known.get(url)
        if known is None or known.seen.hung == hung:
            return
        seen = replace(known.seen, hung=hung)
        self._known[url] = replace(known, seen=seen, hung_count=known.hung_count + hung)
        self._changed()
        words = f"is hung: it has requests and moved nothing for {silent_s:.0f} s" if hung else "moves again"
        self._journal.note(
            "replica_hung" if hung else "replica_recovered",
            words,
            model=known.seen.pool or "",
            replica=url,
            level=logging.WARNING if hung else logging.INFO,
        )

    def _set_marks(self, url: str, marks: Marks) -> None:
        if url in self._slots.replicas:
            self._board.set_marks(self._slots.replicas[url], marks)

    # -- the picture --

    def tidy(self) -> None:
        """Free the slots of those who left and are not missed any more. Call it now and then."""
        self._slots.tidy()

    def _changed(self) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_soon(self.settle)

    def settle(self) -> None:
        """Draw the snapshot of this moment, and send it if it differs from the last."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        plan = self._plan
        observations = [known.seen for known in self._known.values()]
        catalogue = draw(plan.pools, observations, plan.defaults, tuple(self.snapshot.pools))
        members = {group.name: [member.url for member in group.members] for group in catalogue.groups}
        homeless = self._slots.assign(list(self._known), members)
        pools, names = assemble(catalogue, self._slots.pools, self._slots.replicas)
        self._warn((*catalogue.warnings, *homeless))
        if all(
            seen.health.state is not State.STARTING or seen.owner is Owner.LAUNCHED for seen in observations
        ):
            self.judged.set()
        snapshot = Snapshot(
            number=self.snapshot.number,
            pools=pools,
            names=names,
            ejection=plan.ejection,
            retries=plan.retries,
        )
        if snapshot != self.snapshot:
            self.snapshot = msgspec.structs.replace(snapshot, number=snapshot.number + 1)
            for callback in self._subscribers:
                callback(self.snapshot)

    def _warn(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            if warning not in self.warnings:
                self._journal.note("warning", warning, level=logging.WARNING)
        self.warnings = warnings
