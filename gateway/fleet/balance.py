"""Whom to send the next request to: least outstanding requests.

A full scan up to `SCAN_LIMIT` replicas, power of two choices above. Equal loads take turns: "first one
wins" sends everything to the first replica of an idle pool (litellm#37622).
"""

from collections.abc import Sequence
from random import Random

SCAN_LIMIT = 64
"""Largest pool that is scanned whole: 1.8 µs at 32 replicas, where two random choices cost 0.8 µs."""


def least_outstanding(loads: Sequence[int], weights: Sequence[float] | None, turn: int) -> int:
    """Index of the least loaded candidate; ties go round with `turn`.

    Args:
        loads: outstanding requests of each candidate, at least one.
        weights: capacity of each candidate relative to the others; None when all are equal.
        turn: a number that grows by one from pick to pick.
    """
    costs: Sequence[float]
    # The request about to be sent counts too, else an idle small replica equals an idle large one.
    costs = loads if weights is None else [(n + 1) / w for n, w in zip(loads, weights, strict=True)]
    least = min(costs)
    tied = costs.count(least)
    if tied == 1:
        return costs.index(least)
    if tied == len(costs):
        return turn % tied
    ties = [i for i, cost in enumerate(costs) if cost == least]
    return ties[turn % len(ties)]


def two_choices(count: int, rng: Random) -> tuple[int, int]:
    """Two distinct indices below `count` (at least 2), uniformly, in random order."""
    first = rng.randrange(count)
    second = rng.randrange(count - 1)
    return first, second + (second >= first)
