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


class TroubleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How often something went wrong in the last five minutes.

    `kind` is a counter of `/metrics` without its prefix (`retries`, `broken_streams`, `shed`,
    `resumed_streams`, `client_disconnects`), `reason` the value of its label, empty where it has none.
    """

    kind: str
    reason: str
    count: int


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
    queue_limit: int | None = None
    """How many requests may wait in each worker."""
    outstanding_per_replica: int | None = None
    """How many requests a replica gets at a time; null: as many as there are."""
    troubles: tuple[TroubleStatus, ...] = ()


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


class ServerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What one launched server takes from one GPU, as planned."""

    model: str
    replica: str
    """Its URL; empty while it has none."""
    weights_bytes: int
    kv_cache_bytes: int
    other_bytes: int
    """Activations, CUDA graphs, context."""
    kv_tokens: int


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU and who was given how much of it."""

    index: int
    name: str
    total_bytes: int
    others_bytes: int
    """Taken by processes that are not ours when the plan was made."""
    servers: tuple[ServerMemory, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `events` are the newest first; `devices` is empty where nothing was launched."""

    version: str
    time: float
    snapshot: int
    models: tuple[ModelStatus, ...]
    pools: tuple[PoolStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    workers: tuple[WorkerStatus, ...]
    events: tuple[EventStatus, ...]
    warnings: tuple[str, ...]
    started: float = 0.0
    devices: tuple[DeviceStatus, ...] = ()


class PoolHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One pool over the last quarter of an hour, column by column, oldest first.

    Each moment looks back on the fifteen seconds before it; a latency is null where nothing was observed.
    """

    pool: str
    time: tuple[float, ...]
    requests_per_s: tuple[float, ...]
    server_errors_per_s: tuple[float, ...]
    ttft_p50_s: tuple[float | None, ...]
    ttft_p95_s: tuple[float | None, ...]
    itl_p50_s: tuple[float | None, ...]
    itl_p95_s: tuple[float | None, ...]
    outstanding: tuple[int, ...]
    queue_depth: tuple[int, ...]
