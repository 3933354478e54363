"""From what control knows to the status document. Pure: the clocks come in as arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.control.admin.source import ReplicaView, Source
from gateway.control.admin.status import (
    EngineStatus,
    EventStatus,
    Latency,
    ModelStatus,
    PoolStatus,
    ReplicaStatus,
    Status,
    TroubleStatus,
    WorkerStatus,
)
from gateway.fleet.ejection import Marks
from gateway.fleet.snapshot import ModelName, Pool, Snapshot, State
from gateway.telemetry.exposition import EngineNumbers, slots_used
from gateway.telemetry.families import (
    CLIENTS,
    CONNECTIONS,
    DISPATCHED,
    FAILURES,
    LOOP_LAG,
    OUTSTANDING,
    QUEUE_DEPTH,
)
from gateway.telemetry.scoreboard import Scoreboard
from gateway.telemetry.summaries import History, Quantiles, Summary
from gateway.telemetry.sums import Sums, read


@dataclass(frozen=True, slots=True)
class Clocks:
    """One moment on both clocks, in seconds: `epoch` for people, `monotonic` as on the scoreboard."""

    epoch: float
    monotonic: float


def build(source: Source, history: History, now: Clocks, started: float = 0.0) -> Status:
    """The status document of this moment."""
    facts, snapshot, views = source.facts(), source.snapshot, source.replicas()
    pool_slots, replica_slots = slots_used(snapshot.pools.values())
    replica_slots = max(replica_slots, *(view.slot + 1 for view in views if view.slot is not None), 0)
    sums = read(source.board, pool_slots, replica_slots)
    replicas = tuple(_replica(view, snapshot, source.board, sums, facts.engines, now) for view in views)
    conditions = {replica.url: replica.condition for replica in replicas}
    return Status(
        version=facts.version,
        time=now.epoch,
        snapshot=snapshot.number,
        models=tuple(_model(name, snapshot) for name in snapshot.names.values()),
        pools=tuple(
            _pool(pool, sums, history.summary(now.monotonic, pool, sums), conditions)
            for pool in snapshot.pools.values()
        ),
        replicas=replicas,
        workers=tuple(_workers(source, sums)),
        events=tuple(
            EventStatus(time=e.time, kind=e.kind, model=e.model, replica=e.replica, message=e.message)
            for e in reversed(source.events())
        ),
        warnings=tuple(source.warnings()),
        started=started,
        devices=tuple(source.devices()),
    )


def condition(view: ReplicaView, outstanding: int, ejection: Marks, now: float) -> str:
    """The one word an operator wants first; `status.ReplicaStatus` lists the words."""
    if view.state is not State.UP:
        return view.state.value
    if view.draining:
        return "draining" if outstanding else "drained"
    if ejection.ejected_until > now:
        return "ejected"
    return "trial" if ejection.round else "up"


def _replica(
    view: ReplicaView,
    snapshot: Snapshot,
    board: Scoreboard,
    sums: Sums,
    engines: Mapping[str, EngineNumbers],
    now: Clocks,
) -> ReplicaStatus:
    outstanding = connections = requests = failures = 0
    marks = Marks()
    if view.slot is not None:
        families = (OUTSTANDING, CONNECTIONS, DISPATCHED, FAILURES)
        outstanding, connections, requests, failures = (sums.replica(view.slot, f)[0] for f in families)
        marks = board.marks(view.slot)
    return ReplicaStatus(
        url=view.url,
        condition=condition(view, outstanding, marks, now.monotonic),
        state=view.state.value,
        reason=view.reason,
        since=view.since,
        draining=view.draining,
        ejected_for_s=max(0.0, marks.ejected_until - now.monotonic),
        origin=view.origin,
        weight=view.weight,
        pools=tuple(p.name for p in snapshot.pools.values() if any(r.id == view.url for r in p.replicas)),
        models=view.models,
        adapters=view.adapters,
        outstanding=outstanding,
        connections=connections,
        requests=requests,
        failures=failures,
        probe_latency_s=view.probe_latency_s,
        engine=_engine(engines.get(view.url)),
    )


def _engine(numbers: EngineNumbers | None) -> EngineStatus | None:
    if numbers is None:
        return None
    return EngineStatus(running=numbers.running, waiting=numbers.waiting, kv_usage=numbers.kv_usage)


def _model(name: ModelName, snapshot: Snapshot) -> ModelStatus:
    upstream = snapshot.names.get(name.upstream)
    parent = name.parent or (upstream.parent if upstream else None)
    kind = "alias" if name.upstream != name.name else "model" if parent is None else "adapter"
    return ModelStatus(
        name=name.name,
        kind=kind,
        pool=name.pool,
        upstream=name.upstream,
        parent=parent,
        max_model_len=name.max_model_len,
        listed=name.listed,
    )


def _pool(pool: Pool, sums: Sums, summary: Summary, conditions: Mapping[str, str]) -> PoolStatus:
    return PoolStatus(
        name=pool.name,
        replicas=tuple(replica.id for replica in pool.replicas),
        usable=sum(conditions.get(replica.id) == "up" for replica in pool.replicas),
        outstanding=outstanding(pool, sums),
        queue_depth=sums.pool(pool.slot, QUEUE_DEPTH)[0],
        requests_per_s=summary.requests_per_s,
        server_errors_per_s=summary.server_errors_per_s,
        time_to_first_token=_latency(summary.time_to_first_token),
        inter_token_latency=_latency(summary.inter_token_latency),
        duration=_latency(summary.duration),
        queue_limit=pool.limits.queue,
        outstanding_per_replica=pool.limits.outstanding_per_replica,
        troubles=tuple(TroubleStatus(kind=t.kind, reason=t.reason, count=t.count) for t in summary.troubles),
    )


def outstanding(pool: Pool, sums: Sums) -> int:
    """Requests that run on the pool's replicas."""
    return sum(sums.replica(replica.slot, OUTSTANDING)[0] for replica in pool.replicas)


def _latency(quantiles: Quantiles) -> Latency:
    return Latency(p50_s=quantiles.p50_s, p95_s=quantiles.p95_s)


def _workers(source: Source, sums: Sums) -> Iterator[WorkerStatus]:
    clients, lags = sums.workers(CLIENTS), sums.workers(LOOP_LAG)
    for view in source.workers():
        yield WorkerStatus(
            index=view.index,
            pid=view.pid,
            restarts=view.restarts,
            clients=clients[view.index][0],
            loop_lag_s=lags[view.index][0] / LOOP_LAG.scale,
        )
