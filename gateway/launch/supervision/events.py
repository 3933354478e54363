"""What happens to launched servers, as values for whoever listens: the fleet's state, a screen."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.launch.bootlog import BootLog
from gateway.launch.plan import Plan


@dataclass(frozen=True, slots=True)
class Server:
    """One launched server, as others name it. `model` is its name in the configuration."""

    label: str
    model: str
    url: str
    gpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Starting:
    """It was started, and is doing this; told again when that changes. `attempt` counts from 1."""

    server: Server
    attempt: int
    doing: str


@dataclass(frozen=True, slots=True)
class Answering:
    """Its `/health` answers, `took_s` after its start; what its log said about memory."""

    server: Server
    took_s: float
    log: BootLog


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended, for this reason, and is started again in `pause_s` seconds."""

    server: Server
    why: str
    pause_s: float


@dataclass(frozen=True, slots=True)
class Replanned:
    """It ran out of memory while starting, and was planned anew with the measured numbers."""

    server: Server
    why: str
    change: str
    """What is different now, in words."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It is not started again."""

    server: Server
    why: str


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What this start measured is kept for the next plan."""

    server: Server


Happening = Starting | Answering | Ended | Replanned | GivenUp | Calibrated
Tell = Callable[[Happening], None]
