"""Which model name leads where, and who wins when two pools claim the same one.

Precedence: the names of the declared pools, what their replicas call the model, aliases, further names that
replicas list, adapters. Within one kind the pool that comes first wins; the loser is told to the operator.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.fleet.grouping import Group, Offer
from gateway.fleet.observation import ServedModel
from gateway.fleet.snapshot import ModelName


@dataclass(frozen=True, slots=True)
class _Claim:
    kind: str
    name: str
    upstream: str
    group: Group
    is_adapter: bool = False


def name_models(groups: Sequence[Group]) -> tuple[dict[str, ModelName], list[str]]:
    """All names a client may use, and a warning for each name that two pools claim."""
    winners: dict[str, _Claim] = {}
    conflicts: dict[tuple[str, str], str] = {}
    for claim in _claims(groups):
        winner = winners.setdefault(claim.name, claim)
        if winner.group is not claim.group:
            conflicts.setdefault((claim.name, claim.group.name), _conflict(claim, winner))
    return {name: _resolve(claim) for name, claim in winners.items()}, list(conflicts.values())


def _claims(groups: Sequence[Group]) -> Iterator[_Claim]:
    """All claims, those of higher precedence first."""
    for group in groups:
        yield _Claim("the name", group.name, group.served_name, group)
    for group in groups:
        yield _Claim("the served name", group.served_name, group.served_name, group)
    for group in groups:
        for alias in group.aliases:
            yield _Claim("an alias", alias, group.served_name, group)
    for group in groups:
        for model in _unique(model for offer in group.offers for model in offer.base):
            yield _Claim("a served name", model.id, model.id, group)
    for group in groups:
        for model in _unique(model for offer in group.offers for model in offer.adapters):
            yield _Claim("an adapter", model.id, model.id, group, is_adapter=True)


def _unique(models: Iterable[ServedModel]) -> Iterable[ServedModel]:
    return {model.id: model for model in models}.values()


def _conflict(loser: _Claim, winner: _Claim) -> str:
    return (
        f"{loser.name} is {winner.kind} of {winner.group.name} and {loser.kind} of {loser.group.name}: "
        f"requests for it go to {winner.group.name}"
    )


def _resolve(claim: _Claim) -> ModelName:
    """What the replicas say about the name; those that take requests now are believed first."""
    found = list(_entries(claim))
    usable = [model for offer, model in found if offer.replica.is_usable]
    shown = next(iter([*usable, *(model for _, model in found)]), None)
    return ModelName(
        name=claim.name,
        pool=claim.group.name,
        upstream=claim.upstream,
        parent=shown.parent if shown else None,
        root=shown.root if shown else None,
        # The smallest: a longer prompt would fail on one replica and not on the next.
        max_model_len=min((m.max_model_len for m in usable if m.max_model_len is not None), default=None),
        listed=bool(usable),
    )


def _entries(claim: _Claim) -> Iterator[tuple[Offer, ServedModel]]:
    for offer in claim.group.offers:
        for model in offer.adapters if claim.is_adapter else offer.base:
            if model.id == claim.upstream:
                yield offer, model
