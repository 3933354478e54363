"""A finished load, cut into levels and windows. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.llm.measured import Histogram, Seen, Timeline
from loadtests.llm.plan import Plan
from loadtests.llm.profiles import Profile

WINDOWS = 45
"""Points of a plot over time, at most."""
WINDOW_MIN_S = 2


@dataclass(frozen=True, slots=True)
class Level:
    """A phase of the plan, or a window of one, and what was seen while it counted."""

    users: int
    begins_s: float
    """From the start of the load."""
    seconds: float
    seen: Seen

    def per_s(self, count: float) -> float:
        return count / self.seconds


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that a report tells. `began` and `ended` are Unix time."""

    name: str
    profile: Profile
    arrival: str
    host: str
    models: tuple[str, ...]
    target_s: float
    plan: Plan
    timeline: Timeline
    began: float
    ended: float
    problems: tuple[tuple[int, str], ...] = ()
    """How often, and what."""

    @property
    def seconds(self) -> float:
        """How long the load took; less than planned if somebody stopped it."""
        return min(self.ended - self.began, self.plan.seconds)

    def waited(self, seen: Seen) -> Histogram:
        """What the target is about: first tokens, or answers where there are none."""
        return seen.ttft if self.profile.streams() else seen.answer

    @property
    def waited_for(self) -> str:
        return "TTFT" if self.profile.streams() else "answer time"

    def levels(self) -> list[Level]:
        """The phases that were reached, as far as they count."""
        return [
            level
            for phase in self.plan.phases
            if (level := self._level(phase.users, self.plan.counts_from(phase), phase.ends_s))
        ]

    def windows(self) -> list[Level]:
        """Equal parts of the time, for a plot over it."""
        return [
            level for begin, end in self._edges() if (level := self._level(self._users(begin), begin, end))
        ]

    def total(self) -> Seen:
        return self.timeline.between(self.began, self.ended + 1)[0]

    def _edges(self) -> Iterator[tuple[float, float]]:
        length_s = max(WINDOW_MIN_S, round(self.seconds / WINDOWS))
        for index in range(int(self.seconds // length_s)):
            yield index * length_s, (index + 1) * length_s

    def _users(self, elapsed_s: float) -> int:
        phase = self.plan.at(elapsed_s)
        return phase.users if phase else 0

    def _level(self, users: int, begins_s: float, ends_s: float) -> Level | None:
        end = min(self.began + ends_s, self.ended)
        seen, seconds = self.timeline.between(self.began + begins_s, end)
        return Level(users, begins_s, seconds, seen) if seconds > 0 else None
