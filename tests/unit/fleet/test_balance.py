"""Least outstanding, ties in turn."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.balance import least_outstanding, two_choices

loads = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(loads, st.integers(0, 10**9))
def test_nobody_less_loaded_than_the_chosen_one(outstanding: list[int], turn: int) -> None:
    assert outstanding[least_outstanding(outstanding, None, turn)] == min(outstanding)


@given(loads)
def test_equal_loads_are_taken_in_turn(outstanding: list[int]) -> None:
    ties = outstanding.count(min(outstanding))
    picks = Counter(least_outstanding(outstanding, None, turn) for turn in range(ties * 3))
    assert set(picks.values()) == {3}
    assert len(picks) == ties


def test_a_replica_of_twice_the_weight_gets_twice_the_requests() -> None:
    outstanding = [0, 0, 0]
    for turn in range(400):
        outstanding[least_outstanding(outstanding, [1.0, 2.0, 1.0], turn)] += 1
    assert outstanding == [100, 200, 100]


def test_an_idle_small_replica_does_not_equal_an_idle_large_one() -> None:
    assert {least_outstanding([0, 0], [1.0, 4.0], turn) for turn in range(4)} == {1}


@given(st.integers(2, 100), st.integers())
def test_two_choices_are_distinct_and_in_range(count: int, seed: int) -> None:
    first, second = two_choices(count, Random(seed))
    assert first != second
    assert min(first, second) >= 0
    assert max(first, second) < count


def test_two_choices_are_uniform_over_ordered_pairs() -> None:
    rng = Random(1)
    pairs = Counter(two_choices(3, rng) for _ in range(6000))
    assert len(pairs) == 6
    assert min(pairs.values()) > 850
