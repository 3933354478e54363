"""What is declared about the fleet and what was seen of it: everything the catalogue is drawn from."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.fleet.health import Health
from gateway.fleet.snapshot import Limits, ResumeMode, State, Timeouts


class Owner(StrEnum):
    """Who said that a replica exists."""

    DECLARED = "declared"
    """The configuration names it in a model's section."""
    DISCOVERED = "discovered"
    """Only its URL is known; its own `/v1/models` says where it belongs."""
    LAUNCHED = "launched"
    """Started by this gateway."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One entry of a replica's `/v1/models`. An adapter has a `parent`; `root` is where the weights are."""

    id: str
    parent: str | None = None
    root: str | None = None
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One replica: what was said about it, and what it said itself.

    `pool` is the declared pool it was assigned to, None for a discovered replica. `models` are those it
    listed last, kept while it is down (its model stays known), and None as long as they were never read.
    """

    url: str
    owner: Owner = Owner.DECLARED
    pool: str | None = None
    weight: float = 1.0
    authorization: str | None = field(default=None, repr=False)
    health: Health = field(default_factory=Health)
    models: tuple[ServedModel, ...] | None = None
    draining: bool = False
    hung: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether it takes new requests: up by its probes, not hung, and not drained by an operator."""
        return self.health.state is State.UP and not (self.hung or self.draining)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How the requests of one pool are treated."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    resume: ResumeMode = ResumeMode.EXACT
    priority_header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPool:
    """A pool that the configuration names. `served_name` is what its replicas call the model."""

    name: str
    served_name: str
    aliases: tuple[str, ...] = ()
    options: PoolOptions = field(default_factory=PoolOptions)
