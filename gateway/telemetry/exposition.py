"""`/metrics`: the scoreboard's sums and the control plane's own facts in Prometheus' formats.

Labels are pools, replicas, workers and closed sets of values; nothing a client sends becomes one. What is not
in the current snapshot is not shown, whatever its slot still holds.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import ProcessCollector, samples
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.fleet.ejection import Standing
from gateway.fleet.snapshot import Pool, Replica, Snapshot, State
from gateway.telemetry.exemplars import Exemplar, newest
from gateway.telemetry.families import (
    CODES,
    EJECTION_REASONS,
    EJECTIONS,
    EXEMPLIFIED,
    POOL_FAMILIES,
    REPLICA_FAMILIES,
    WORKER_FAMILIES,
    Counter,
    Family,
    Gauge,
    Histogram,
)
from gateway.telemetry.scoreboard import NS, Scoreboard
from gateway.telemetry.sums import Cells, Sums, read

PREFIX = "vllm_gateway_"
ALWAYS_SHOWN_CODES = frozenset({"200", "429", "499", "500", "502", "503", "504"})
"""Shown even at 0, because `rate()` can't see a series' first step; the other codes appear once counted."""


@dataclass(frozen=True, slots=True)
class EngineNumbers:
    """What a replica's own `/metrics` said last, summed over its engines; `kv_usage` is a ratio of 0 to 1."""

    running: float
    waiting: float
    kv_usage: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What the control plane knows at this moment and no scoreboard holds.

    `engines` is keyed by replica id and lacks the replicas whose metrics were not read lately. `hung` counts,
    by replica id, how often its engine was found hung: the one kind of ejection that no worker decides.
    `reloads` counts by outcome (`ok`, `rejected`).
    """

    snapshot: Snapshot
    version: str
    workers_up: int = 0
    worker_restarts: int = 0
    reloads: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, EngineNumbers] = field(default_factory=dict)
    hung: Mapping[str, int] = field(default_factory=dict)


class Scrape(Collector):
    """One scrape: makes all families from the board as it is and the facts as they were given."""

    def __init__(self, board: Scoreboard, facts: Facts, now: float, *, exemplars: bool) -> None:
        self._board = board
        self._facts = facts
        self._now = now
        self._exemplars = exemplars

    def collect(self) -> Iterator[Metric]:
        pools = tuple(self._facts.snapshot.pools.values())
        sums = read(self._board, *slots_used(pools))
        yield from _pool_families(pools, sums, self._board if self._exemplars else None)
        yield from _replica_families(pools, sums, self._facts.hung)
        yield from _worker_families(sums)
        yield from _states(pools, self._board, self._now)
        yield from _engines(pools, self._facts.engines)
        yield from _control(self._facts)
        yield from ProcessCollector(registry=None).collect()


def render(board: Scoreboard, facts: Facts, now: float, accept: str) -> tuple[bytes, str]:
    """The body and its content type: OpenMetrics when `Accept` asks for it, else the text format.

    Takes 90 ms for 64 pools of 4 replicas: call it in a thread.

    Args:
        board: where the workers count.
        facts: the current facts.
        now: monotonic seconds, the clock of the board's ejection times.
        accept: the request's `Accept` header.
    """
    encode, content_type = choose_encoder(accept)
    exemplars = content_type.startswith("application/openmetrics-text")  # the text format has none
    return encode(Scrape(board, facts, now, exemplars=exemplars)), content_type


def slots_used(pools: Iterable[Pool]) -> tuple[int, int]:
    """How many pool slots and replica slots must be read so that every slot in use is among them."""
    pools = tuple(pools)
    replicas = (replica.slot for pool in pools for replica in pool.replicas)
    return max((pool.slot for pool in pools), default=-1) + 1, max(replicas, default=-1) + 1


# -- what workers count --


def _pool_families(pools: Iterable[Pool], sums: Sums, exemplars: Scoreboard | None) -> Iterator[Metric]:
    for family in POOL_FAMILIES:
        metric = _empty(family, "model")
        for pool in pools:
            first = len(metric.samples)
            _add(metric, family, (pool.name,), sums.pool(pool.slot, family))
            if exemplars is not None and isinstance(family, Histogram) and family in EXEMPLIFIED:
                _name_requests(metric, first, newest(exemplars, pool.slot, family))
        yield metric


def _name_requests(metric: Metric, first: int, of_buckets: Iterable[Exemplar | None]) -> None:
    """Give the buckets of one pool, the first of which is the sample at `first`, their exemplars."""
    for at, found in enumerate(of_buckets, first):
        if found is not None:
            named = samples.Exemplar({"request_id": found.request_id}, found.seconds, found.ended_at)
            metric.samples[at] = metric.samples[at]._replace(exemplar=named)


def _replica_families(pools: Iterable[Pool], sums: Sums, hung: Mapping[str, int]) -> Iterator[Metric]:
    for family in REPLICA_FAMILIES:
        metric = _empty(family, "model", "replica")
        for pool, replica in _members(pools):
            cells = list(sums.replica(replica.slot, family))
            if family is EJECTIONS:
                cells[EJECTION_REASONS.index("hung")] += hung.get(replica.id, 0)
            _add(metric, family, (pool.name, replica.id), cells)
        yield metric


def _worker_families(sums: Sums) -> Iterator[Metric]:
    for family in WORKER_FAMILIES:
        metric = _empty(family, "worker")
        for worker, cells in enumerate(sums.workers(family)):
            _add(metric, family, (str(worker),), cells)
        yield metric


def _empty(family: Family, *labels: str) -> Metric:
    name = PREFIX + family.name
    if isinstance(family, Histogram):
        return HistogramMetricFamily(name, family.help, labels=labels)
    if isinstance(family, Gauge):
        return GaugeMetricFamily(name, family.help, labels=labels)
    by = () if family.label is None else (family.label,)
    return CounterMetricFamily(name, family.help, labels=(*labels, *by))


def _add(metric: Metric, family: Family, labels: tuple[str, ...], cells: Cells) -> None:
    match family, metric:
        case Counter(label=None), CounterMetricFamily():
            metric.add_metric(labels, cells[0])
        case Counter(), CounterMetricFamily():
            for value, count in zip(family.values, cells, strict=True):
                if count or family.values is not CODES or value in ALWAYS_SHOWN_CODES:
                    metric.add_metric((*labels, value), count)
        case Gauge(), GaugeMetricFamily():
            metric.add_metric(labels, cells[0] / family.scale)
        case Histogram(), HistogramMetricFamily():
            counts = accumulate(cells[:-1])
            bounds = (*(str(float(bound)) for bound in family.bounds), "+Inf")
            metric.add_metric(labels, list(zip(bounds, counts, strict=True)), cells[-1] / NS)


def _members(pools: Iterable[Pool]) -> Iterator[tuple[Pool, Replica]]:
    return ((pool, replica) for pool in pools for replica in pool.replicas)


# -- what control knows --


def _states(pools: tuple[Pool, ...], board: Scoreboard, now: float) -> Iterator[Metric]:
    labels = ("model", "replica")
    up = GaugeMetricFamily(
        PREFIX + "replica_up", "1 when the replica's health probe succeeds.", labels=labels
    )
    draining = GaugeMetricFamily(
        PREFIX + "replica_draining", "1 while an operator keeps new requests away.", labels=labels
    )
    ejected = GaugeMetricFamily(
        PREFIX + "replica_ejected", "1 while the replica is out because its requests failed.", labels=labels
    )
    for pool, replica in _members(pools):
        names = (pool.name, replica.id)
        up.add_metric(names, replica.state is State.UP)
        draining.add_metric(names, replica.draining)
        ejected.add_metric(names, board.standing(replica.slot, now) is Standing.OUT)
    yield from (up, draining, ejected)


def _engines(pools: tuple[Pool, ...], engines: Mapping[str, EngineNumbers]) -> Iterator[Metric]:
    labels = ("model", "replica")
    running = GaugeMetricFamily(
        PREFIX + "replica_engine_running", "Requests running, as the replica's engine says.", labels=labels
    )
    waiting = GaugeMetricFamily(
        PREFIX + "replica_engine_waiting", "Requests queued, as the replica's engine says.", labels=labels
    )
    kv_usage = GaugeMetricFamily(
        PREFIX + "replica_kv_cache_usage_ratio",
        "Share of the KV cache in use, as the replica's engine says.",
        labels=labels,
    )
    for pool, replica in _members(pools):
        numbers = engines.get(replica.id)
        if numbers is not None:
            names = (pool.name, replica.id)
            running.add_metric(names, numbers.running)
            waiting.add_metric(names, numbers.waiting)
            kv_usage.add_metric(names, numbers.kv_usage)
    yield from (running, waiting, kv_usage)


def _control(facts: Facts) -> Iterator[Metric]:
    yield GaugeMetricFamily(PREFIX + "workers_up", "Worker processes that accept requests.", facts.workers_up)
    yield CounterMetricFamily(
        PREFIX + "worker_restarts", "Worker processes started again after one ended.", facts.worker_restarts
    )
    yield GaugeMetricFamily(
        PREFIX + "snapshot_number", "Number of the newest picture of the fleet.", facts.snapshot.number
    )
    reloads = CounterMetricFamily(
        PREFIX + "config_reloads", "Times the configuration was read again.", labels=("outcome",)
    )
    for outcome, count in facts.reloads.items():
        reloads.add_metric((outcome,), count)
    yield reloads
    versions = {"version": facts.version, "python": platform.python_version()}
    yield InfoMetricFamily(PREFIX + "build", "What is running.", versions)
