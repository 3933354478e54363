"""Which replica belongs to which pool.

A declared replica is in the pool it was declared for. A discovered one says itself where it belongs: servers
that share the name of a base model form a pool, and join a declared pool when they share a name with that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.fleet.observation import DeclaredPool, Observation, PoolOptions, ServedModel


@dataclass(frozen=True, slots=True)
class Offer:
    """One base model on one replica: the names it is served under, and the adapters that belong to it."""

    replica: Observation
    base: tuple[ServedModel, ...]
    adapters: tuple[ServedModel, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The base names, without the adapters."""
        return frozenset(model.id for model in self.base)


@dataclass(slots=True)
class _Component:
    names: set[str]
    offers: list[Offer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A pool that has no slot yet.

    `members` are all its replicas. `offers` are what those of them offer that really serve this model.
    """

    name: str
    served_name: str
    aliases: tuple[str, ...]
    options: PoolOptions
    members: tuple[Observation, ...]
    offers: tuple[Offer, ...]


def offers_of(replica: Observation) -> list[Offer]:
    """What a replica offers, one entry for each base model; nothing while its models were never read.

    Names with the same root are several names of one model. An adapter whose parent is not listed (vLLM lets
    `--lora-modules` name any parent) belongs to the first.
    """
    by_root: dict[str, list[ServedModel]] = {}
    adapters: list[ServedModel] = []
    for model in replica.models or ():
        if model.parent is None:
            by_root.setdefault(model.root or model.id, []).append(model)
        else:
            adapters.append(model)
    root_of = {model.id: root for root, models in by_root.items() for model in models}
    first = next(iter(by_root), None)
    return [
        Offer(replica, tuple(base), tuple(a for a in adapters if root_of.get(a.parent or "", first) == root))
        for root, base in by_root.items()
    ]


def group(
    declared: Sequence[DeclaredPool],
    observations: Sequence[Observation],
    defaults: PoolOptions,
    former: Sequence[str],
) -> tuple[list[Group], list[str]]:
    """The pools, and what an operator should know about them.

    Args:
        declared: the pools of the configuration, in its order.
        observations: all replicas, in listing order.
        defaults: the options of pools that nobody declared.
        former: the names of the pools of the last drawing, so that a pool keeps its name.
    """
    warnings: list[str] = []
    homes = {pool.name: _conforming(pool, observations, warnings) for pool in declared}
    known = {
        pool.name: frozenset({pool.served_name}).union(*(offer.names for offer in homes[pool.name]))
        for pool in declared
    }
    strangers: list[_Component] = []
    for component in _components(
        offer for replica in observations if replica.pool is None for offer in offers_of(replica)
    ):
        hosts = [name for name, names in known.items() if names & component.names]
        if not hosts:
            strangers.append(component)
        for offer in component.offers if hosts else ():
            listed = [host for host in hosts if known[host] & offer.names]
            if len(listed) > 1:
                warnings.append(
                    f"{offer.replica.url} serves the models of {_list(listed)}: it joined {listed[0]}"
                )
            homes[(listed or hosts)[0]].append(offer)
    groups = [_declared_group(pool, homes[pool.name], observations) for pool in declared]
    taken = set(homes).union(*(pool.aliases for pool in declared))
    for component in strangers:
        name = _discovered_name(component, former, taken)
        if name is None:
            warnings.append(_nameless(component))
            continue
        taken.add(name)
        groups.append(_discovered_group(name, component.offers, defaults))
    return groups, warnings


def _conforming(pool: DeclaredPool, replicas: Iterable[Observation], warnings: list[str]) -> list[Offer]:
    """What the pool's declared replicas offer under its served name; warns about those that don't."""
    found = []
    for replica in replicas:
        if replica.pool != pool.name or replica.models is None:
            continue
        offers = offers_of(replica)
        fitting = [offer for offer in offers if pool.served_name in offer.names]
        found += fitting
        if not fitting:
            serves = _list([model.id for offer in offers for model in offer.base]) or "no model"
            warnings.append(
                f"{replica.url} serves {serves}, not {pool.served_name}: "
                f"set served_name of {pool.name} or fix the URL"
            )
    return found


def _components(offers: Iterable[Offer]) -> list[_Component]:
    """Offers that share a base name, directly or through others, in listing order."""
    components: list[_Component] = []
    for offer in offers:
        touched = [component for component in components if component.names & offer.names]
        if not touched:
            components.append(_Component(set(offer.names), [offer]))
            continue
        home, *others = touched
        for other in others:
            home.names |= other.names
            home.offers += other.offers
            components.remove(other)
        home.names |= offer.names
        home.offers.append(offer)
    return components


def _declared_group(pool: DeclaredPool, offers: list[Offer], replicas: Iterable[Observation]) -> Group:
    mine = [replica for replica in replicas if replica.pool == pool.name]
    joined = [offer.replica for offer in offers if offer.replica.pool is None]
    return Group(
        name=pool.name,
        served_name=pool.served_name,
        aliases=pool.aliases,
        options=pool.options,
        members=_once([*mine, *joined]),
        offers=tuple(offers),
    )


def _discovered_group(name: str, offers: Sequence[Offer], options: PoolOptions) -> Group:
    return Group(
        name=name,
        served_name=name,
        aliases=(),
        options=options,
        members=_once([offer.replica for offer in offers]),
        offers=tuple(offers),
    )


def _discovered_name(component: _Component, former: Sequence[str], taken: set[str]) -> str | None:
    """The name the pool had, else the first one listed; None when all belong to other pools."""
    listed = [model.id for offer in component.offers for model in offer.base]
    kept = [name for name in former if name in listed]
    return next((name for name in (*kept, *listed) if name not in taken), None)


def _nameless(component: _Component) -> str:
    urls = _list([offer.replica.url for offer in component.offers])
    names = _list(sorted(component.names))
    return f"{urls} can't be reached: what it calls its model ({names}) is declared as the name of another"


def _once(replicas: Iterable[Observation]) -> tuple[Observation, ...]:
    """Each replica once: one that offers two models of a pool is still one replica."""
    return tuple({replica.url: replica for replica in replicas}.values())


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
