"""Who has which slot on the scoreboard.

A slot that was given back is not reused at once: requests that still run count in it until they end. Only
its owner knows when, and says so with `clean`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType


class SlotTable:
    """Slots by key, the lowest free one first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._taken: dict[str, int] = {}
        self._released: dict[str, int] = {}

    @property
    def taken(self) -> Mapping[str, int]:
        """The slots in use, by key."""
        return MappingProxyType(self._taken)

    @property
    def released(self) -> Mapping[str, int]:
        """The slots given back and not cleaned yet, by their last key."""
        return MappingProxyType(self._released)

    def assign(self, keys: Iterable[str]) -> list[str]:
        """Give each key a slot and take the slots of all others away. Returns the keys that found none.

        A key that comes back before its slot was cleaned gets that one again, with what still counts in it.
        """
        wanted = dict.fromkeys(keys)
        for key in [key for key in self._taken if key not in wanted]:
            self._released[key] = self._taken.pop(key)
        return [key for key in wanted if not self._take(key)]

    def clean(self, key: str) -> None:
        """The released slot of `key` was zeroed and may be given to somebody else."""
        del self._released[key]

    def _take(self, key: str) -> bool:
        if key in self._taken:
            return True
        if key in self._released:
            self._taken[key] = self._released.pop(key)
            return True
        used = {*self._taken.values(), *self._released.values()}
        free = next((slot for slot in range(self._capacity) if slot not in used), None)
        if free is None:
            return False
        self._taken[key] = free
        return True
