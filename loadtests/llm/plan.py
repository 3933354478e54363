"""How many users when: an arrival's shares as phases. Pure; times in seconds from the start of the load."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

RAMP_SHARE, RAMP_MAX_S = 0.2, 5.0
"""Users of a phase come one after the other over this share of it, so that they don't ask in step."""
SETTLE_SHARE, SETTLE_MAX_S = 0.4, 30.0
"""A level of a staircase counts from here on: before, answers that began on the level below still run."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A time in which the number of users stays."""

    begins_s: float
    ends_s: float
    users: int

    @property
    def length_s(self) -> float:
        return self.ends_s - self.begins_s


@dataclass(frozen=True, slots=True)
class Plan:
    """All phases of a load."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        return self.phases[-1].ends_s

    @property
    def peak(self) -> int:
        return max(phase.users for phase in self.phases)

    def is_staircase(self) -> bool:
        """Whether each phase has more users than the one before: then figures stand for a number of users."""
        users = [phase.users for phase in self.phases]
        return len(users) > 1 and all(low < high for low, high in pairwise(users))

    def at(self, elapsed_s: float) -> Phase | None:
        """The phase of a moment; None when the load is over."""
        return next((phase for phase in self.phases if elapsed_s < phase.ends_s), None)

    def change_per_s(self, phase: Phase) -> float:
        """Users that come or go in a second at the beginning of this phase."""
        index = self.phases.index(phase)
        before = self.phases[index - 1].users if index else 0
        ramp_s = min(RAMP_SHARE * phase.length_s, RAMP_MAX_S)
        return max(1.0, abs(phase.users - before) / ramp_s)

    def counts_from(self, phase: Phase) -> float:
        """From when on what happens is counted for this phase."""
        if not self.is_staircase():
            return phase.begins_s
        return phase.begins_s + min(SETTLE_SHARE * phase.length_s, SETTLE_MAX_S)


def plan(shares: Sequence[float], users: int, seconds: float) -> Plan:
    """Spread an arrival over so many users at its peak and so much time."""
    length_s = seconds / len(shares)
    return Plan(
        tuple(
            Phase(index * length_s, (index + 1) * length_s, ceil(share * users - 1e-9))
            for index, share in enumerate(shares)
        )
    )
