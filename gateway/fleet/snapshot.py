"""The picture of the fleet that the control plane draws and the workers route by.

A snapshot is whole, immutable and numbered. Workers never receive "add" or "remove" events: reload,
discovery, probes, drains and adapter changes all arrive as the next snapshot, and a worker carries its
live state (open connections, running requests) over to it by replica id.
"""

from enum import StrEnum
from typing import Self

import msgspec


class State(StrEnum):
    """What the probes know about a replica. Measured only: an operator's drain is a bit of its own."""

    STARTING = "starting"
    """No verdict yet. Never routed to, never counted as healthy by assumption."""
    UP = "up"
    UNRESPONSIVE = "unresponsive"
    """Probes time out: perhaps hung, perhaps only saturated. Panic may still route here."""
    FAILING = "failing"
    """The server itself says 5xx."""
    REFUSED = "refused"
    """Nobody listens. Not even panic routes here."""


class ResumeMode(StrEnum):
    """How a broken stream is continued on another replica."""

    EXACT = "exact"
    TEXT = "text"
    OFF = "off"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Admission limits of one pool."""

    outstanding_per_replica: int | None = None
    queue: int = 1000
    queue_timeout_s: float = 30.0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines of one request, in seconds; `total_s` None means no limit on the whole answer."""

    connect_s: float = 5.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0
    total_s: float | None = None


class Replica(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One running vLLM server as a pool sees it.

    `slot` is its column on the scoreboard. `models` are all the names it answers to, base names and
    loaded adapters alike. `hung` says that its engine has requests and moves nothing, whatever
    its probes say.
    """

    id: str
    slot: int
    weight: float = 1.0
    state: State = State.STARTING
    draining: bool = False
    hung: bool = False
    models: frozenset[str] = frozenset()
    authorization: str | None = None

    def __repr__(self) -> str:
        """Like `<Replica http://10.0.0.1:8000 up>`; never shows the key."""
        drain = " draining" if self.draining else ""
        return f"<Replica {self.id} {self.state}{drain}>"


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """All replicas that serve one base model, with the limits that hold for it."""

    name: str
    slot: int
    replicas: tuple[Replica, ...] = ()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    resume: ResumeMode = ResumeMode.EXACT
    priority_header: str | None = None


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may write in `"model"`, and what that means.

    `upstream` is what the replicas call it: equal to `name` except for an alias, whose requests are
    rewritten. `listed` says whether a usable replica has it, which is what `GET /v1/models` shows.
    """

    name: str
    pool: str
    upstream: str
    parent: str | None = None
    root: str | None = None
    max_model_len: int | None = None
    listed: bool = False


class Ejection(msgspec.Struct, frozen=True, kw_only=True):
    """Passive health: when a replica that fails requests is taken out, and for how long."""

    consecutive_failures: int = 5
    base_s: float = 30.0
    max_s: float = 300.0
    panic_threshold: float = 0.5
    penalty_s: float = 5.0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often a request that has not begun may be tried elsewhere."""

    attempts: int = 2
    budget: float = 0.2
    min_concurrent: int = 3


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole picture. `number` grows by one with every change; a worker ignores older ones."""

    number: int
    pools: dict[str, Pool] = {}
    names: dict[str, ModelName] = {}
    ejection: Ejection = Ejection()
    retries: Retries = Retries()

    def encode(self) -> bytes:
        """The snapshot as JSON, for the socket to a worker."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. Raises `msgspec.ValidationError` on anything else."""
        return msgspec.json.decode(data, type=cls)
