"""How many users when."""

from hypothesis import given
from hypothesis import strategies as st

from loadtests.llm.plan import plan

STEPS = (0.25, 0.5, 0.75, 1.0)


def test_each_share_has_an_equal_part_of_the_time() -> None:
    steps = plan(STEPS, users=8, seconds=40)
    assert [(phase.begins_s, phase.ends_s, phase.users) for phase in steps.phases] == [
        (0, 10, 2), (10, 20, 4), (20, 30, 6), (30, 40, 8),
    ]  # fmt: skip
    assert (steps.seconds, steps.peak) == (40, 8)


def test_a_moment_has_a_phase_until_the_end() -> None:
    steps = plan(STEPS, users=8, seconds=40)
    users = [phase.users if (phase := steps.at(second)) else None for second in (0, 9.9, 10, 39.9, 40)]
    assert users == [2, 2, 4, 8, None]


def test_only_what_rises_all_the_time_is_a_staircase() -> None:
    assert plan(STEPS, users=8, seconds=40).is_staircase()
    for shares in ((1.0,), (1.0, 1.0), (0.2, 1.0, 0.2)):
        assert not plan(shares, users=10, seconds=40).is_staircase()
    assert not plan(STEPS, users=2, seconds=40).is_staircase(), "levels that round to the same are no levels"


def test_a_level_counts_when_it_has_settled_and_a_burst_from_its_first_second() -> None:
    steps, burst = plan(STEPS, 8, 40), plan((0.2, 1.0, 0.2), 10, 30)
    assert [steps.counts_from(phase) for phase in steps.phases] == [4, 14, 24, 34]
    assert [burst.counts_from(phase) for phase in burst.phases] == [0, 10, 20]
    long = plan((0.5, 1.0), 8, 2000)
    assert long.counts_from(long.phases[1]) == 1030, "half a minute is enough for long levels"


def test_users_come_one_after_the_other_in_the_first_part_of_a_phase() -> None:
    steps, burst = plan(STEPS, 80, 40), plan((0.2, 1.0, 0.2), 100, 30)
    assert steps.change_per_s(steps.phases[0]) == 10
    assert steps.change_per_s(steps.phases[3]) == 10
    assert burst.change_per_s(burst.phases[2]) == 40, "those who go are counted like those who come"
    assert plan((1.0,), 1, 3600).change_per_s(plan((1.0,), 1, 3600).phases[0]) == 1


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=20),
    users=st.integers(1, 10_000),
    seconds=st.floats(1, 100_000),
)
def test_there_is_always_somebody_and_never_more_than_the_peak(
    shares: list[float], users: int, seconds: float
) -> None:
    planned = plan(shares, users, seconds)
    assert all(1 <= phase.users <= users for phase in planned.phases)
    assert all(planned.counts_from(phase) < phase.ends_s for phase in planned.phases)
    assert all(planned.change_per_s(phase) >= 1 for phase in planned.phases)
