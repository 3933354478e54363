"""Passive health: what failed requests do to a replica's standing, and how it comes back.

After Envoy's outlier detection, with three changes for small pools of slow servers: ejection is not limited
to a share of the pool (panic guards that), a replica returns through a single trial request, and one that
just failed is asked last for a moment, ejected or not.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from gateway.fleet.snapshot import Ejection


class Standing(IntEnum):
    """How passive health sees a replica at one moment; lower is better."""

    GOOD = 0
    TRIAL = 1
    """Its ejection has run out: one request may find out whether it is well again."""
    PENALISED = 2
    """It failed a request a moment ago. Asked only when nobody better has room."""
    OUT = 3
    """Ejected, or on trial with the trial's outcome open."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What passive health remembers of a replica. Times are seconds of the monotonic clock, 0 is never.

    `round` counts ejections in a row. `trial_since` is when the current trial request was sent.
    """

    ejected_until: float = 0.0
    penalised_until: float = 0.0
    consecutive_failures: int = 0
    round: int = 0
    trial_since: float = 0.0


TRIAL_LIMIT_S = 60.0
"""A trial that has not come back for so long is given to another request."""


def standing(marks: Marks, now: float) -> Standing:
    """How the replica is seen at `now`."""
    if marks.ejected_until > now:
        return Standing.OUT
    if marks.round:
        waiting = marks.trial_since and now - marks.trial_since < TRIAL_LIMIT_S
        return Standing.OUT if waiting else Standing.TRIAL
    return Standing.PENALISED if marks.penalised_until > now else Standing.GOOD


def on_trial(marks: Marks, now: float) -> Marks:
    """The marks once a trial request is on its way."""
    return replace(marks, trial_since=now)


def failed(marks: Marks, now: float, rules: Ejection) -> tuple[Marks, str | None]:
    """The marks after a connect error, a broken answer or a 5xx, and why it is ejected, if it is.

    A 4xx, 429 or 501 is no failure of the replica and must not be reported here.
    """
    penalised = now + rules.penalty_s
    failures = marks.consecutive_failures + 1
    at_trial = marks.round > 0 and marks.ejected_until <= now
    if not at_trial and (failures < rules.consecutive_failures or marks.ejected_until > now):
        return replace(marks, penalised_until=penalised, consecutive_failures=failures), None
    round_ = marks.round + 1
    until = now + min(rules.base_s * round_, rules.max_s)
    return Marks(until, penalised, 0, round_), "trial_failed" if at_trial else "consecutive_failures"


def succeeded(marks: Marks, now: float) -> Marks:
    """The marks after a good answer: failures are no longer in a row, and a trial was passed."""
    if marks.round and marks.ejected_until > now:
        # An answer begun before the ejection says little about now.
        return marks
    return Marks(penalised_until=marks.penalised_until if marks.penalised_until > now else 0.0)
