"""Dividing spare memory fairly among instances that share GPUs.

Every instance grows by the same multiple of its weight until one of its GPUs is full, then the others go on
(progressive filling). An instance over several GPUs grows equally on all of them, as vLLM's ranks must.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """An instance's wish for more."""

    gpus: tuple[int, ...]
    weight: int
    """How much it wants relative to the others; 0: nothing."""


def share_spare(claims: Sequence[Claim], spare: Mapping[int, int]) -> tuple[int, ...]:
    """What each claim gets on each of its GPUs.

    Args:
        claims: the instances.
        spare: what is free, by GPU.
    """
    granted = [0] * len(claims)
    left = {gpu: max(0, amount) for gpu, amount in spare.items()}
    growing = {index for index, claim in enumerate(claims) if claim.weight > 0}
    while growing:
        demand = _demand(claims, growing)
        tight = min(demand, key=lambda gpu: left[gpu] / demand[gpu])
        multiple = left[tight] / demand[tight]
        for index in growing:
            amount = int(multiple * claims[index].weight)
            granted[index] += amount
            for gpu in claims[index].gpus:
                left[gpu] = max(0, left[gpu] - amount)
        growing = {index for index in growing if tight not in claims[index].gpus}
    return tuple(granted)


def _demand(claims: Sequence[Claim], growing: set[int]) -> dict[int, int]:
    demand: dict[int, int] = {}
    for index in growing:
        for gpu in claims[index].gpus:
            demand[gpu] = demand.get(gpu, 0) + claims[index].weight
    return demand
