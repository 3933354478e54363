"""What to do after a server ended: start it again after a pause, plan it anew, or give up. Pure.

A server that was up for a while may be started at once; one that keeps dying is started with growing pauses,
and given up when it has failed often enough in a row that only a person can help.
"""

from dataclasses import dataclass, replace

from gateway.launch.failures import Failure, FailureKind


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient to be; durations in seconds."""

    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    settled_s: float = 300.0
    """A server that answered for so long starts with a clean record."""
    most_failures: int = 6
    """Failures in a row after which a server is given up: with these pauses half a minute plus the starts."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a server has gone through."""

    failures: int = 0
    """In a row."""
    replanned: bool = False
    """Once is enough: a plan with measured numbers that fails too is beyond us."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How one run of a server ended. `lived_s` is how long it answered, None if it never did."""

    why: str
    lived_s: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again after a pause, in seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Replan:
    """Plan it anew with what was measured, then start it at once."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave it; the sentence says why."""

    why: str


Decision = Again | Replan | GiveUp


def decide(policy: Policy, record: Record, ending: Ending) -> tuple[Record, Decision]:
    """The record after an ending, and what to do."""
    if ending.lived_s is not None and ending.lived_s >= policy.settled_s:
        record = replace(record, failures=0)
    failures = record.failures + 1
    record = replace(record, failures=failures)
    # After it answered once, the same words in its log have another cause than the configuration.
    kind = ending.failure.kind if ending.failure is not None and ending.lived_s is None else None
    if kind is FailureKind.SETTINGS:
        return record, GiveUp(ending.why)
    if kind in {FailureKind.MEMORY, FailureKind.OCCUPIED} and not record.replanned:
        return replace(record, replanned=True), Replan()
    if failures >= policy.most_failures:
        return record, GiveUp(f"it failed {failures} times in a row; the last time {ending.why}")
    pause_s = min(policy.first_pause_s * 2 ** (failures - 1), policy.longest_pause_s)
    return record, Again(pause_s)
