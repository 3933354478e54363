"""The combinatorial core against brute force."""

from collections.abc import Sequence
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.launch.placement.packing import Bin, Choice, Item, Placed, pack


def _no_score(_placed: Sequence[Placed]) -> float:
    return 0.0


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[Item], list[Bin]]:
    bins = [Bin(draw(st.integers(0, 12)), draw(st.integers(0, 1))) for _ in range(draw(st.integers(1, 4)))]
    items = []
    for _ in range(draw(st.integers(1, 4))):
        choices = []
        for size in draw(st.sampled_from([(1,), (1, 2), (2,), (1, 2, 4)])):
            load = draw(st.integers(1, 8))
            allowed = draw(st.lists(st.booleans(), min_size=len(bins), max_size=len(bins)))
            choices.append(Choice(size, tuple(load if ok else None for ok in allowed)))
        items.append(Item(tuple(choices)))
    return items, bins


def _ways(item: Item, bins: Sequence[Bin]) -> list[tuple[Choice, tuple[int, ...]]]:
    return [
        (choice, chosen)
        for choice in item.choices
        for chosen in combinations(range(len(bins)), choice.size)
        if all(choice.loads[b] is not None for b in chosen) and len({bins[b].kind for b in chosen}) == 1
    ]


def _fewest_bins_by_brute_force(items: Sequence[Item], bins: Sequence[Bin]) -> int | None:
    best: int | None = None
    for ways in product(*(_ways(item, bins) for item in items)):
        free = [b.capacity for b in bins]
        for choice, chosen in ways:
            for b in chosen:
                free[b] -= choice.loads[b] or 0
        if min(free) >= 0:
            used = sum(len(chosen) for _, chosen in ways)
            best = used if best is None else min(best, used)
    return best


@settings(max_examples=300, deadline=None)
@given(_cases())
def test_nothing_is_refused_that_brute_force_can_place_and_no_bin_is_wasted(
    case: tuple[list[Item], list[Bin]],
) -> None:
    items, bins = case
    packing = pack(items, bins, _no_score)
    expected = _fewest_bins_by_brute_force(items, bins)
    assert packing.exhaustive
    assert (packing.placed is None) == (expected is None)
    if packing.placed is not None:
        assert sum(len(placed.bins) for placed in packing.placed) == expected


@settings(max_examples=200, deadline=None)
@given(_cases(), st.integers(0, 3))
def test_a_packing_never_overfills_a_bin_even_when_the_search_is_cut_short(
    case: tuple[list[Item], list[Bin]], nodes: int
) -> None:
    items, bins = case
    placed = pack(items, bins, _no_score, nodes).placed
    if placed is None:
        return
    free = [b.capacity for b in bins]
    for item, where in zip(items, placed, strict=True):
        choice = item.choices[where.choice]
        assert len(set(where.bins)) == choice.size
        assert len({bins[b].kind for b in where.bins}) == 1
        for b in where.bins:
            load = choice.loads[b]
            assert load is not None
            free[b] -= load
    assert min(free) >= 0


def test_of_equally_small_packings_the_best_score_wins() -> None:
    items = [Item((Choice(1, (3, 3)),)), Item((Choice(1, (3, 3)),))]
    spread = pack(items, [Bin(10), Bin(10)], lambda placed: len({p.bins for p in placed}))
    together = pack(items, [Bin(10), Bin(10)], lambda placed: -len({p.bins for p in placed}))
    assert spread.placed is not None
    assert together.placed is not None
    assert {p.bins for p in spread.placed} == {(0,), (1,)}
    assert len({p.bins for p in together.placed}) == 1


def test_a_search_cut_short_does_not_claim_that_a_placement_is_impossible() -> None:
    items = [Item((Choice(1, (6, 6)),)) for _ in range(3)]
    assert not pack(items, [Bin(10), Bin(10)], _no_score, nodes=1).exhaustive


def test_a_better_packing_than_the_greedy_one_is_found() -> None:
    """Greedily, the first item takes the only bin in which the second would fit whole."""
    first = Item((Choice(1, (6, 6)), Choice(2, (3, 3))))
    second = Item((Choice(1, (5, None)), Choice(2, (3, 3))))
    placed = pack([first, second], [Bin(9), Bin(9)], _no_score).placed
    assert placed == (Placed(0, (1,)), Placed(0, (0,)))


def test_neither_the_roomiest_nor_the_tightest_bin_may_be_the_right_one() -> None:
    items = [
        Item((Choice(1, (7, 7, 7)),)),
        Item((Choice(1, (6, None, None)),)),
        Item((Choice(1, (None, None, 6)),)),
    ]
    placed = pack(items, [Bin(10), Bin(8), Bin(7)], _no_score).placed
    assert placed == (Placed(0, (1,)), Placed(0, (0,)), Placed(0, (2,)))
