"""Putting items of one or several equal pieces into bins: the combinatorial core of placement.

Knows numbers only. An item has alternatives (tensor-parallel sizes); each takes `size` bins of one kind and
loads each of them. Small cases are searched exhaustively, large ones greedily first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

SEARCH_NODES = 20_000
"""Search steps before the best packing so far is taken: about a second."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way of placing an item."""

    size: int
    """How many bins it takes."""
    loads: tuple[int | None, ...]
    """What it adds to each bin; None: not allowed there."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to place, with its alternatives in order of preference (fewest bins first)."""

    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Something to put items into."""

    capacity: int
    kind: int = 0
    """Pieces of one item only go into bins of the same kind."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an item went."""

    choice: int
    """Index into the item's choices."""
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packing:
    """The outcome of a search."""

    placed: tuple[Placed, ...] | None
    """One entry per item, or None if nothing was found."""
    exhaustive: bool
    """Whether every possibility was tried: then None means impossible, and a packing is the best."""


Score = Callable[[Sequence[Placed]], float]
"""How good a complete packing is; compared between packings of equally many bins."""


def pack(items: Sequence[Item], bins: Sequence[Bin], score: Score, nodes: int = SEARCH_NODES) -> Packing:
    """The packing that takes the fewest bins in total, and of those the one with the best score."""
    search = _Search(items, bins, score, nodes)
    for fit in (_roomiest, _tightest):
        greedy = _greedy(items, bins, fit)
        if greedy is not None:
            search.offer(greedy)
    search.run()
    return Packing(search.best, exhaustive=search.nodes_left > 0)


def _order(items: Sequence[Item]) -> list[int]:
    """Indices of the items, hardest to place first."""
    return sorted(range(len(items)), key=lambda index: -_least_total(items[index]))


def _least_total(item: Item) -> int:
    """The least that an item adds to all bins together."""
    totals = [
        choice.size * min(load for load in choice.loads if load is not None)
        for choice in item.choices
        if any(load is not None for load in choice.loads)
    ]
    return min(totals, default=0)


def _roomiest(free: int, load: int) -> int:
    return load - free


def _tightest(free: int, load: int) -> int:
    return free - load


def _greedy(
    items: Sequence[Item], bins: Sequence[Bin], fit: Callable[[int, int], int]
) -> tuple[Placed, ...] | None:
    """The hardest item first, into the bins that `fit` ranks lowest."""
    free = [b.capacity for b in bins]
    placed: dict[int, Placed] = {}
    for index in _order(items):
        found = _greedy_place(items[index], bins, free, fit)
        if found is None:
            return None
        placed[index] = found
        _take(free, items[index].choices[found.choice], found.bins, 1)
    return tuple(placed[index] for index in range(len(items)))


def _greedy_place(
    item: Item, bins: Sequence[Bin], free: Sequence[int], fit: Callable[[int, int], int]
) -> Placed | None:
    for number, choice in enumerate(item.choices):
        able: dict[int, list[tuple[int, int]]] = {}
        for b, load in enumerate(choice.loads):
            if load is not None and load <= free[b]:
                able.setdefault(bins[b].kind, []).append((fit(free[b], load), b))
        ranked = [sorted(members)[: choice.size] for members in able.values() if len(members) >= choice.size]
        if ranked:
            return Placed(number, tuple(sorted(b for _, b in min(ranked))))
    return None


def _take(free: list[int], choice: Choice, bins: Sequence[int], sign: int) -> None:
    for b in bins:
        free[b] -= sign * (choice.loads[b] or 0)


class _Search:
    """Depth first over items, with equal bins treated as one possibility."""

    def __init__(self, items: Sequence[Item], bins: Sequence[Bin], score: Score, nodes: int) -> None:
        self.best: tuple[Placed, ...] | None = None
        self.nodes_left = nodes
        self._best_key = (0, 0.0)
        self._items = items
        self._score = score
        self._bins = bins
        self._free = [b.capacity for b in bins]
        self._order = _order(items)
        self._classes = [_bin_class(items, index, b) for index, b in enumerate(bins)]
        self._placed: dict[int, Placed] = {}

    def offer(self, placed: tuple[Placed, ...]) -> None:
        """Keep a complete packing if it is better than the best so far."""
        key = (-sum(len(p.bins) for p in placed), self._score(placed))
        if self.best is None or key > self._best_key:
            self.best, self._best_key = placed, key

    def run(self) -> None:
        """Search everything, or until the steps are used up."""
        self._descend(0, 0)

    def _descend(self, depth: int, bins_used: int) -> None:
        if depth == len(self._order):
            self.offer(tuple(self._placed[index] for index in range(len(self._items))))
            return
        if not self._can_finish(depth, bins_used):
            return
        index = self._order[depth]
        for number, choice in enumerate(self._items[index].choices):
            for bins in self._places(choice):
                if self.nodes_left <= 0:
                    return
                self.nodes_left -= 1
                self._placed[index] = Placed(number, bins)
                _take(self._free, choice, bins, 1)
                self._descend(depth + 1, bins_used + choice.size)
                _take(self._free, choice, bins, -1)

    def _can_finish(self, depth: int, bins_used: int) -> bool:
        rest = [self._items[index] for index in self._order[depth:]]
        if sum(_least_total(item) for item in rest) > sum(free for free in self._free if free > 0):
            return False
        fewest = bins_used + sum(min((c.size for c in item.choices), default=0) for item in rest)
        return self.best is None or -fewest >= self._best_key[0]

    def _places(self, choice: Choice) -> Iterator[tuple[int, ...]]:
        """All sets of bins that hold the choice, one for each way in which they differ."""
        groups: dict[int, dict[tuple[int, object], list[int]]] = {}
        for b, load in enumerate(choice.loads):
            if load is not None and load <= self._free[b]:
                alike = groups.setdefault(self._bins[b].kind, {})
                alike.setdefault((-self._free[b], self._classes[b]), []).append(b)
        for alike in groups.values():
            members = [alike[key] for key in sorted(alike, key=lambda key: key[0])]
            yield from _combinations(members, choice.size)


def _bin_class(items: Sequence[Item], index: int, b: Bin) -> object:
    """Equal for bins that no item can tell apart."""
    return (b, tuple(choice.loads[index] for item in items for choice in item.choices))


def _combinations(groups: Sequence[Sequence[int]], size: int) -> Iterator[tuple[int, ...]]:
    """Every way to take `size` bins when only their number per group matters."""
    if size == 0:
        yield ()
        return
    if not groups:
        return
    first, rest = groups[0], groups[1:]
    for count in range(min(size, len(first)), -1, -1):
        for others in _combinations(rest, size - count):
            yield tuple(sorted((*first[:count], *others)))
