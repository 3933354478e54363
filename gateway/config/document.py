"""A configuration as plain data, with the line of every key and list item. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count, islice

from gateway.config.errors import KeyPath, Problem


@dataclass(frozen=True)
class Document:
    """Plain data, the line of each key path, and what is wrong with the text it came from."""

    data: object
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line(self, path: KeyPath) -> int | None:
        """Line of the innermost part of the path that the text has; None when it has nothing of it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def innermost(self, path: KeyPath) -> KeyPath:
        """The longest beginning of the path that exists in the data."""
        value = self.data
        for depth, token in enumerate(path):
            if isinstance(value, dict):
                if token not in value:
                    return path[:depth]
            elif not (isinstance(value, list) and isinstance(token, int) and token < len(value)):
                return path[:depth]
            value = value[token]  # type: ignore[index]  # the list's index was checked above
        return path


def without(data: object, unwanted: frozenset[KeyPath], at: KeyPath = ()) -> object:
    """The data less the values at the unwanted paths. Later list items move up: see `original_path`."""
    if isinstance(data, dict):
        entries = {key: item for key, item in data.items() if (*at, key) not in unwanted}
        return {key: without(item, unwanted, (*at, key)) for key, item in entries.items()}
    if isinstance(data, list):
        items = [(index, item) for index, item in enumerate(data) if (*at, index) not in unwanted]
        return [without(item, unwanted, (*at, index)) for index, item in items]
    return data


def original_path(path: KeyPath, unwanted: frozenset[KeyPath]) -> KeyPath:
    """The path, in the whole data, of what `without` left at this path."""
    original: KeyPath = ()
    for token in path:
        if isinstance(token, int):
            original = (*original, _nth_kept(original, token, unwanted))
        else:
            original = (*original, token)
    return original


def _nth_kept(at: KeyPath, position: int, unwanted: frozenset[KeyPath]) -> int:
    kept = (index for index in count() if (*at, index) not in unwanted)
    return next(islice(kept, position, None))
