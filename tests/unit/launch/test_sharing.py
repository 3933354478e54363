"""Dividing spare memory."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.launch.placement.sharing import Claim, share_spare


def test_everyone_grows_by_the_same_multiple_of_its_weight() -> None:
    assert share_spare([Claim((0,), 1), Claim((0,), 3)], {0: 400}) == (100, 300)


def test_the_others_go_on_when_one_gpu_is_full() -> None:
    assert share_spare([Claim((0,), 1), Claim((1,), 1)], {0: 100, 1: 900}) == (100, 900)


def test_an_instance_over_several_gpus_grows_as_far_as_the_fullest_lets_it() -> None:
    assert share_spare([Claim((0, 1), 1), Claim((1,), 1)], {0: 100, 1: 900}) == (100, 800)


def test_who_wants_nothing_gets_nothing() -> None:
    assert share_spare([Claim((0,), 0), Claim((0,), 5)], {0: 50}) == (0, 50)


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 3), min_size=1), st.integers(0, 50)), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**12), min_size=4, max_size=4),
)
def test_no_gpu_is_given_away_twice(wishes: list[tuple[set[int], int]], spare: list[int]) -> None:
    claims = [Claim(tuple(sorted(gpus)), weight) for gpus, weight in wishes]
    granted = share_spare(claims, dict(enumerate(spare)))
    for gpu, amount in enumerate(spare):
        taken = sum(g for g, claim in zip(granted, claims, strict=True) if gpu in claim.gpus)
        assert taken <= amount * (1 + 1e-9) + 1
