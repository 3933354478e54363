"""The document of `GET /api/status`, as types: what a field means is said here, once.

Times are seconds since the epoch, durations end in `_s`, rates are per second over the last minute. Readers
must ignore fields they do not know: new ones may come in any release, none changes its meaning.
"""

import msgspec


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles over the last five minutes; null where nothing was observed."""

    p50_s: float | None = None
    p95_s: float | None = None


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One name that a client may write in `"model"`."""

    name: str
    kind: str
    """`model`, `alias` or `adapter`."""
    pool: str
    upstream: str
    """What the replicas call it."""
    parent: str | None = None
    max_model_len: int | None = None
    listed: bool = False
    """Whether a usable replica has it now."""


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All replicas that serve one base model."""

    name: str
    replicas: tuple[str, ...]
    usable: int
    """Replicas that get new requests now."""
    outstanding: int
    queue_depth: int
    requests_per_s: float
    server_errors_per_s: float
    time_to_first_token: Latency
    inter_token_latency: Latency
    duration: Latency


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the replica's own `/metrics` said last; `kv_usage` is 0 to 1."""

    running: float
    waiting: float
    kv_usage: float


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One vLLM server.

    `condition` is what an operator wants to know first: `up`, `starting`, `refused`, `failing`,
    `unresponsive`, `ejected`, `trial` (its ejection ran out, one request tries it), `draining`, or `drained`
    (draining, and nothing runs there any more). `state` is what its probes say, whatever else holds, with
    `reason` in words and `since`.
    """

    url: str
    condition: str
    state: str
    reason: str
    since: float
    draining: bool
    ejected_for_s: float
    """How long it will still be left out because requests to it failed; 0 when it is not."""
    origin: str
    weight: float
    pools: tuple[str, ...]
    models: tuple[str, ...]
    adapters: tuple[str, ...]
    outstanding: int
    connections: int
    requests: int
    failures: int
    probe_latency_s: float | None = None
    engine: EngineStatus | None = None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process; `pid` is null while it is being started again."""

    index: int
    pid: int | None
    restarts: int
    clients: int
    """Open client connections."""
    loop_lag_s: float


class EventStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; `model` and `replica` may be empty."""

    time: float
    kind: str
    model: str
    replica: str
    message: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `events` are the newest first."""

    version: str
    time: float
    snapshot: int
    models: tuple[ModelStatus, ...]
    pools: tuple[PoolStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    workers: tuple[WorkerStatus, ...]
    events: tuple[EventStatus, ...]
    warnings: tuple[str, ...]
