"""A control plane made of plain values, for tests of what is in front of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.control.admin.source import ReloadRefused, ReplicaView, UnknownReplica, WorkerView
from gateway.control.admin.status import DeviceStatus
from gateway.fleet.snapshot import ModelName, Pool, Replica, Snapshot, State
from gateway.proxy.channel import Event
from gateway.telemetry.exposition import EngineNumbers, Facts
from gateway.telemetry.layout import Layout
from gateway.telemetry.scoreboard import Scoreboard

LAYOUT = Layout(workers=2, pools=4, replicas=8)
A, B, C = "http://10.0.0.1:8000", "http://10.0.0.2:8000", "https://10.0.0.3:443/vllm"


def view(url: str, slot: int | None, state: State = State.UP, **more: Any) -> ReplicaView:
    plain = ReplicaView(
        url=url,
        state=state,
        reason="HTTP 200",
        since=1000.0,
        draining=False,
        weight=1.0,
        origin="declared",
        slot=slot,
        models=("chat",),
        adapters=(),
        probe_latency_s=0.002,
    )
    return replace(plain, **more)


def snapshot() -> Snapshot:
    replicas = (Replica(id=A, slot=0, state=State.UP), Replica(id=C, slot=2, state=State.UP))
    names = (
        ModelName(name="chat", pool="chat", upstream="chat", max_model_len=4096, listed=True),
        ModelName(name="gpt-4o", pool="chat", upstream="chat", listed=True),
        ModelName(name="chat-sql", pool="chat", upstream="chat-sql", parent="chat", listed=True),
        ModelName(name="sql", pool="chat", upstream="chat-sql", listed=True),
    )
    return Snapshot(
        number=4,
        pools={"chat": Pool(name="chat", slot=1, replicas=replicas)},
        names={name.name: name for name in names},
    )


@dataclass
class Fleet:
    """A `Source` whose answers are fields."""

    board: Scoreboard
    snapshot: Snapshot = field(default_factory=snapshot)
    views: list[ReplicaView] = field(default_factory=list)
    gpus: tuple[DeviceStatus, ...] = ()
    reloads: int = 0
    refuse: str = ""
    asked: int = 0
    """How often somebody wanted the facts."""

    def facts(self) -> Facts:
        self.asked += 1
        engines = {A: EngineNumbers(running=3, waiting=1, kv_usage=0.5)}
        return Facts(self.snapshot, version="9.9", workers_up=2, engines=engines)

    def replicas(self) -> Sequence[ReplicaView]:
        return self.views

    def workers(self) -> Sequence[WorkerView]:
        return (WorkerView(0, 4711, 0), WorkerView(1, None, 2))

    def events(self) -> Sequence[Event]:
        return [Event(time=float(n), kind="ejected", model="chat", replica=A, message=f"{n}") for n in (1, 2)]

    def warnings(self) -> Sequence[str]:
        return ["http://10.0.0.2:8000 serves other, not chat."]

    def devices(self) -> Sequence[DeviceStatus]:
        return self.gpus

    def drain(self, url: str) -> None:
        self._set(url, draining=True)

    def undrain(self, url: str) -> None:
        self._set(url, draining=False)

    async def reload(self) -> None:
        if self.refuse:
            raise ReloadRefused(self.refuse)
        self.reloads += 1

    def _set(self, url: str, *, draining: bool) -> None:
        if all(known.url != url for known in self.views):
            raise UnknownReplica(url)
        self.views = [replace(v, draining=draining) if v.url == url else v for v in self.views]


def fleet_of_three(board: Scoreboard) -> Fleet:
    """A is up, B refuses and has no slot, C is up and on another path."""
    return Fleet(board, views=[view(A, 0), view(B, None, State.REFUSED), view(C, 2)])
