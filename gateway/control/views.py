"""What others see of the fleet's state: pure translations."""

from collections.abc import Mapping, Sequence

from gateway.control.admin.source import ReplicaView
from gateway.control.fleet_state import Known
from gateway.telemetry.exposition import EngineNumbers


def replica_views(
    known: Sequence[Known], slots: Mapping[str, int], epoch_of_clock: float
) -> list[ReplicaView]:
    """All replicas. `epoch_of_clock` is the epoch time at which the state's clock read 0."""
    return [_view(one, slots.get(one.seen.url), epoch_of_clock) for one in known]


def _view(known: Known, slot: int | None, epoch_of_clock: float) -> ReplicaView:
    seen = known.seen
    models = seen.models or ()
    hung = "hung: it has requests and moves nothing"
    return ReplicaView(
        url=seen.url,
        state=seen.health.state,
        reason=hung if seen.hung else seen.health.reason,
        since=epoch_of_clock + seen.health.since,
        draining=seen.draining,
        weight=seen.weight,
        origin=seen.owner.value,
        slot=slot,
        models=tuple(model.id for model in models if model.parent is None),
        adapters=tuple(model.id for model in models if model.parent is not None),
        probe_latency_s=known.latency_s,
    )


def engine_numbers(known: Sequence[Known]) -> dict[str, EngineNumbers]:
    """What the engines said last, by replica; without those that could not be asked."""
    return {
        one.seen.url: EngineNumbers(one.engine.running, one.engine.waiting, one.engine.kv_usage)
        for one in known
        if one.engine is not None
    }


def hung_counts(known: Sequence[Known]) -> dict[str, int]:
    """How often each replica's engine was found hung."""
    return {one.seen.url: one.hung_count for one in known}
