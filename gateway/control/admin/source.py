"""What the admin listener reads and asks for; the control plane implements it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.control.admin.status import DeviceStatus
from gateway.fleet.snapshot import Snapshot, State
from gateway.proxy.channel import Event
from gateway.telemetry.exposition import Facts
from gateway.telemetry.scoreboard import Scoreboard


class UnknownReplica(LookupError):
    """The fleet has no replica with this URL."""


class ReloadRefused(Exception):
    """The configuration was not read again, or is not valid; the old one stays. The text says why."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What control knows about one replica, whether or not it is in a pool.

    `since` is when `state` last changed, in seconds since the epoch. `slot` is its column on the scoreboard,
    None while it has none.
    """

    url: str
    state: State
    reason: str
    since: float
    draining: bool
    weight: float
    origin: str
    """How control came to know it: `declared`, `discovered` or `launched`."""
    slot: int | None
    models: tuple[str, ...]
    """Base names, as `/v1/models` said last."""
    adapters: tuple[str, ...]
    probe_latency_s: float | None
    """How long the last successful health probe took."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker process; `pid` is None while it is being started again."""

    index: int
    pid: int | None
    restarts: int


class Source(Protocol):
    """The control plane, as seen from the admin listener."""

    @property
    def board(self) -> Scoreboard: ...

    @property
    def snapshot(self) -> Snapshot: ...

    def facts(self) -> Facts:
        """What `/metrics` shows beside the scoreboard."""

    def replicas(self) -> Sequence[ReplicaView]: ...

    def workers(self) -> Sequence[WorkerView]: ...

    def events(self) -> Sequence[Event]:
        """The newest notable events, oldest first."""

    def warnings(self) -> Sequence[str]:
        """What an operator should look at, one sentence each."""

    def devices(self) -> Sequence[DeviceStatus]:
        """The GPUs on which servers were launched, with the memory planned for each; else none."""

    def drain(self, url: str) -> None:
        """Send the replica no new requests. Raises `UnknownReplica`."""

    def undrain(self, url: str) -> None:
        """Take a drain back. Raises `UnknownReplica`."""

    async def reload(self) -> None:
        """Read the configuration again. Raises `ReloadRefused`."""
