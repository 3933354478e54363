"""Medians, spreads and ratios of repeated measurements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench.measure import Measurement
from loadtests.bench.stats import ADDED_MEDIAN, Results, ratio, spread


def measured(
    peer: str, repetition: int, *, scenario: str = "S1", errors: int = 0, **metrics: float
) -> Measurement:
    return Measurement(peer, scenario, repetition, "2026-01-01", errors, "", {"good": 1.0, **metrics})


def test_a_ratio_compares_within_a_repetition_so_a_machine_that_slows_down_costs_nobody() -> None:
    results = Results(
        [
            measured("gateway", 0, cpu=50),
            measured("nginx", 0, cpu=100),
            measured("gateway", 1, cpu=500),
            measured("nginx", 1, cpu=1000),
        ]
    )
    found = results.ratio("gateway", "nginx", "S1", "cpu")
    assert found is not None
    assert (found.low, found.median, found.high, found.count) == (0.5, 0.5, 0.5, 2)


def test_repetitions_that_only_one_of_two_peers_has_do_not_enter_their_ratio() -> None:
    found = ratio({0: 10.0, 1: 99.0}, {0: 5.0, 2: 1.0})
    assert found is not None
    assert (found.median, found.count) == (2.0, 1)


def test_without_a_common_repetition_there_is_no_ratio() -> None:
    assert ratio({0: 1.0}, {1: 1.0}) is None
    assert ratio({0: 1.0}, {0: 0.0}) is None


def test_a_disturbed_run_counts_only_where_there_is_no_better_one() -> None:
    calm = measured("nginx", 0, cpu=10, foreign_cpus=0.1)
    disturbed = measured("nginx", 1, cpu=90, foreign_cpus=0.9)
    assert Results([calm, disturbed]).counted("nginx", "S1") == [calm]
    assert Results([disturbed]).counted("nginx", "S1") == [disturbed]


def test_a_failed_run_has_no_figures_but_its_errors_are_told() -> None:
    failed = Measurement("nginx", "S1", 0, "2026-01-01", 1, "ended at start")
    results = Results([failed])
    assert results.value("nginx", "S1", "cpu") is None
    assert results.errors("nginx", "S1") == 1


def test_the_added_median_is_what_a_peer_adds_to_no_peer_in_the_same_repetition() -> None:
    results = Results(
        [
            measured("direct", 0, scenario="S5", latency_p50_us=60),
            measured("nginx", 0, scenario="S5", latency_p50_us=160),
            measured("nginx", 1, scenario="S5", latency_p50_us=999),
        ]
    )
    found = results.value("nginx", "S5", ADDED_MEDIAN)
    assert found is not None
    assert (found.median, found.count) == (100, 1)


def test_a_cell_that_was_measured_again_holds_its_last_measurement() -> None:
    results = Results([measured("nginx", 0, cpu=1), measured("nginx", 0, cpu=2)])
    found = results.value("nginx", "S1", "cpu")
    assert found is not None
    assert found.median == 2


@given(st.lists(st.floats(min_value=0.001, max_value=1e9), min_size=1))
def test_a_median_lies_between_the_ends_of_its_spread(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.low <= found.median <= found.high
    assert found.count == len(values)


def test_nothing_has_no_spread() -> None:
    assert spread([]) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.50 (0.50 to 0.50)"), (1234.5, "1,234 (1,234 to 1,234)")]
)
def test_a_spread_reads_as_median_and_range(value: float, text: str) -> None:
    assert str(spread([value])) == text
