"""The order of measuring: repetitions outermost, peers innermost; whom one compares has run side by side."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loadtests.bench.measure import Bench, Measurement
from loadtests.bench.peers import GATEWAY, Peer
from loadtests.bench.procfs import machine_time
from loadtests.bench.scenarios import Scenario

QUIET_CPUS = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """One cell to measure."""

    peer: Peer
    scenario: Scenario
    repetition: int


def plan(peers: Sequence[Peer], scenarios: Sequence[Scenario], repetitions: int) -> Iterator[Step]:
    """All cells in order; each repetition begins with another peer, so that none is always first.

    What nothing pins compares the gateway with itself only, at one and at two workers.
    """
    for repetition in range(repetitions):
        for scenario in scenarios:
            fitting = [
                peer for peer in peers if scenario.pinned == (peer.workers == 1) or peer.name == GATEWAY
            ]
            turn = repetition % max(1, len(fitting))
            for peer in fitting[turn:] + fitting[:turn]:
                yield Step(peer, scenario, repetition)


def wait_until_quiet(limit_s: float) -> None:
    """Wait until others leave the machine alone, but no longer than the limit."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = machine_time().busy_s
        time.sleep(1.0)
        if machine_time().busy_s - before < QUIET_CPUS:
            return


def measure_quietly(bench: Bench, step: Step, quiet_wait_s: float, tries: int) -> Measurement:
    """Measure a cell, again if others disturbed it; keeps the least disturbed of the tries."""
    best: Measurement | None = None
    for _ in range(tries):
        wait_until_quiet(quiet_wait_s)
        measured = bench.measure(step.peer, step.scenario, step.repetition)
        if best is None or (measured.has_figures(), -measured.foreign_cpus()) > (
            best.has_figures(),
            -best.foreign_cpus(),
        ):
            best = measured
        if best.has_figures() and not best.is_disturbed():
            break
    assert best is not None, "at least one try"
    return best


def run(
    bench: Bench, steps: Sequence[Step], quiet_wait_s: float, tries: int, keep: Callable[[Measurement], None]
) -> None:
    """Measure every step and hand each measurement over as soon as it is there."""
    for step in steps:
        keep(measure_quietly(bench, step, quiet_wait_s, tries))
