"""Short ways to write fleets down."""

from dataclasses import dataclass, field

from gateway.fleet.ejection import Marks, Standing, standing
from gateway.fleet.health import Health
from gateway.fleet.observation import DeclaredPool, Observation, Owner, PoolOptions, ServedModel
from gateway.fleet.snapshot import Replica, State


def base(name: str, root: str | None = None, length: int | None = 4096) -> ServedModel:
    return ServedModel(name, None, root or f"weights/{name}", length)


def adapter(name: str, parent: str) -> ServedModel:
    return ServedModel(name, parent, f"adapters/{name}", None)


def seen(
    url: str,
    *models: ServedModel,
    pool: str | None = None,
    state: State = State.UP,
    draining: bool = False,
    hung: bool = False,
    read: bool = True,
) -> Observation:
    return Observation(
        url=url,
        owner=Owner.DISCOVERED if pool is None else Owner.DECLARED,
        pool=pool,
        health=Health(state),
        models=tuple(models) if read else None,
        draining=draining,
        hung=hung,
    )


def declared(name: str, served_name: str | None = None, *aliases: str) -> DeclaredPool:
    return DeclaredPool(name=name, served_name=served_name or name, aliases=aliases)


DEFAULTS = PoolOptions(priority_header="x-default")


def replica(
    name: str,
    slot: int = 0,
    state: State = State.UP,
    *,
    models: str = "m",
    weight: float = 1.0,
    draining: bool = False,
    hung: bool = False,
) -> Replica:
    return Replica(
        id=name,
        slot=slot,
        state=state,
        models=frozenset(models.split()),
        weight=weight,
        draining=draining,
        hung=hung,
    )


@dataclass
class FakeBoard:
    """A scoreboard of plain dictionaries, by slot."""

    counts: dict[int, int] = field(default_factory=dict)
    marks: dict[int, Marks] = field(default_factory=dict)

    def outstanding(self, slot: int) -> int:
        return self.counts.get(slot, 0)

    def standing(self, slot: int, now: float) -> Standing:
        return standing(self.marks.get(slot, Marks()), now)


def ejected(until: float) -> Marks:
    return Marks(ejected_until=until, round=1)


def penalised(until: float) -> Marks:
    return Marks(penalised_until=until)
