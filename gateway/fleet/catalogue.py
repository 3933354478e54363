"""From declarations and observations to the pools and names of a snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.fleet.grouping import Group, group
from gateway.fleet.naming import name_models
from gateway.fleet.observation import DeclaredPool, Observation, PoolOptions
from gateway.fleet.snapshot import ModelName, Pool, Replica


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Who belongs together and what it is called; `warnings` are sentences for the operator."""

    groups: tuple[Group, ...]
    names: Mapping[str, ModelName]
    warnings: tuple[str, ...]

    @property
    def pool_names(self) -> tuple[str, ...]:
        """The pools, in their order; also what the next drawing wants to know as `former`."""
        return tuple(group.name for group in self.groups)


def draw(
    declared: Sequence[DeclaredPool],
    observations: Sequence[Observation],
    defaults: PoolOptions,
    former: Sequence[str] = (),
) -> Catalogue:
    """The catalogue of a fleet. The arguments are those of `grouping.group`."""
    groups, warnings = group(declared, observations, defaults, former)
    names, conflicts = name_models(groups)
    return Catalogue(tuple(groups), names, (*warnings, *conflicts))


def assemble(
    catalogue: Catalogue, pool_slots: Mapping[str, int], replica_slots: Mapping[str, int]
) -> tuple[dict[str, Pool], dict[str, ModelName]]:
    """The pools and names of a snapshot. What has no slot on the scoreboard is left out."""
    pools = {
        group.name: Pool(
            name=group.name,
            slot=pool_slots[group.name],
            replicas=tuple(
                _replica(member, replica_slots[member.url])
                for member in group.members
                if member.url in replica_slots
            ),
            limits=group.options.limits,
            timeouts=group.options.timeouts,
            resume=group.options.resume,
            priority_header=group.options.priority_header,
        )
        for group in catalogue.groups
        if group.name in pool_slots
    }
    return pools, {name: model for name, model in catalogue.names.items() if model.pool in pools}


def _replica(seen: Observation, slot: int) -> Replica:
    return Replica(
        id=seen.url,
        slot=slot,
        weight=seen.weight,
        state=seen.health.state,
        draining=seen.draining,
        hung=seen.hung,
        models=frozenset(model.id for model in seen.models or ()),
        authorization=seen.authorization,
    )
