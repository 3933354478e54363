"""The order of measuring, and what is measured again."""

from collections.abc import Iterator, Sequence
from typing import cast

from loadtests.bench.measure import Bench, Measurement
from loadtests.bench.peers import BY_NAME as PEERS
from loadtests.bench.run import Step, measure_quietly, plan
from loadtests.bench.scenarios import BY_NAME as SCENARIOS

STEP = Step(PEERS["nginx"], SCENARIOS["S1"], 0)


class PlayedBench:
    """Hands out prepared measurements."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._left: Iterator[Measurement] = iter(measurements)
        self.runs = 0

    def measure(self, *_: object) -> Measurement:
        self.runs += 1
        return next(self._left)


def run(foreign_cpus: float, good: float = 1.0) -> Measurement:
    return Measurement("nginx", "S1", 0, "2026-01-01", 0, "", {"good": good, "foreign_cpus": foreign_cpus})


def test_peers_of_one_scenario_run_side_by_side_and_each_repetition_begins_with_another() -> None:
    peers = [PEERS["direct"], PEERS["nginx"], PEERS["haproxy"]]
    order = [step.peer.name for step in plan(peers, [SCENARIOS["S1"]], 3)]
    assert order == [
        *("direct", "nginx", "haproxy"),
        *("nginx", "haproxy", "direct"),
        *("haproxy", "direct", "nginx"),
    ]


def test_unpinned_scenarios_compare_the_gateway_with_itself_at_two_workers() -> None:
    peers = [PEERS[name] for name in ("direct", "gateway", "gateway-2w", "nginx")]
    pinned = {step.peer.name for step in plan(peers, [SCENARIOS["S1"]], 1)}
    unpinned = {step.peer.name for step in plan(peers, [SCENARIOS["S1u"]], 1)}
    assert pinned == {"direct", "gateway", "nginx"}
    assert unpinned == {"gateway", "gateway-2w"}


def test_a_disturbed_run_is_repeated_and_the_least_disturbed_one_is_kept() -> None:
    bench = PlayedBench([run(0.9), run(0.5), run(0.7)])
    kept = measure_quietly(cast("Bench", bench), STEP, 0.0, tries=3)
    assert kept.foreign_cpus() == 0.5
    assert bench.runs == 3


def test_a_calm_run_is_not_repeated() -> None:
    bench = PlayedBench([run(0.1), run(0.0)])
    assert measure_quietly(cast("Bench", bench), STEP, 0.0, tries=3).foreign_cpus() == 0.1
    assert bench.runs == 1


def test_a_disturbed_run_with_figures_beats_a_calm_one_without() -> None:
    bench = PlayedBench([run(0.0, good=0.0), run(0.9)])
    assert measure_quietly(cast("Bench", bench), STEP, 0.0, tries=2).foreign_cpus() == 0.9
