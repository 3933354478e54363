"""Flat or growing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.slope import Sample, memory_growth, settled

MB = 1 << 20


def samples(*pss_mb: float) -> list[Sample]:
    """One every ten seconds."""
    return [Sample(10.0 * n, 100 * n, int(size * MB), 20) for n, size in enumerate(pss_mb)]


def test_memory_that_stays_is_flat() -> None:
    growth = memory_growth(samples(*[80.0] * 30))
    assert growth.is_flat()
    assert growth.per_hour == pytest.approx(0)
    assert growth.level == 80 * MB
    assert growth.window_s == 190.0


def test_a_leak_is_not_flat_though_each_step_is_small() -> None:
    growth = memory_growth(samples(*[80 + n * 0.5 for n in range(60)]))
    assert not growth.is_flat()
    assert growth.per_hour == pytest.approx(0.5 * MB * 360)


def test_what_fills_at_the_start_is_not_a_leak() -> None:
    assert memory_growth(samples(*range(40, 80, 4), *[80.0] * 30)).is_flat()


@given(st.integers(min_value=3, max_value=500))
def test_a_third_of_the_samples_is_warm_up(count: int) -> None:
    kept = settled(samples(*[1.0] * count))
    assert len(kept) == count - count // 3
