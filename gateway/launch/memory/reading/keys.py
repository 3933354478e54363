"""Reading values out of a config.json whose spelling differs between model families.

Owns the look-up with aliases and defaults, and the one error for a value that is missing or of a wrong type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeGuard

from gateway.launch.memory.terms import UnmodelledError

Json = Mapping[str, object]
_LARGEST = 1 << 40


@dataclass(frozen=True, slots=True)
class Keys:
    """One section of a config.json, with the defaults that its family leaves out of the file."""

    values: Json
    defaults: Json
    where: str = "config.json"

    def find(self, *names: str) -> object:
        """The first of `names` that is present and not null; a null in the file overrides a default."""
        for name in names:
            if (value := self.values.get(name)) is not None:
                return value
        if any(name in self.values for name in names):
            return None
        return next((value for name in names if (value := self.defaults.get(name)) is not None), None)

    def has(self, *names: str) -> bool:
        """Whether one of `names` is present and not null."""
        return self.find(*names) is not None

    def integer(self, *names: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            UnmodelledError: it is missing without a default, or something else.
        """
        value = self.find(*names)
        if value is None:
            if default is None:
                raise UnmodelledError(f"{self.where} has no {names[0]}, so its memory cannot be computed")
            return default
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
            raise UnmodelledError(f"{self.where}: {names[0]} is {value!r}, not a whole number")
        if not 0 <= value <= _LARGEST:
            raise UnmodelledError(f"{self.where}: {names[0]} is {value!r}, which is not plausible")
        return int(value)

    def positive(self, *names: str) -> int:
        """A whole number that a model cannot do without.

        Raises:
            UnmodelledError: it is missing, something else, or zero.
        """
        value = self.integer(*names)
        if value == 0:
            raise UnmodelledError(f"{self.where}: {names[0]} is 0")
        return value

    def integers(self, *names: str) -> tuple[int, ...]:
        """A list of whole numbers, empty if missing; a single number is a list of one."""
        value = self.find(*names)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(int(item) for item in value if _is_whole(item))
        return (int(value),) if _is_whole(value) else ()

    def number(self, *names: str, default: float) -> float:
        """A number that need not be whole."""
        value = self.find(*names)
        return float(value) if isinstance(value, (int, float)) and isfinite(value) else default

    def flag(self, *names: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.find(*names)
        return default if value is None else bool(value)

    def text(self, *names: str, default: str = "") -> str:
        """A string."""
        value = self.find(*names)
        return value if isinstance(value, str) else default

    def strings(self, *names: str) -> tuple[str, ...]:
        """A list of strings, empty if missing."""
        value = self.find(*names)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(str(item) for item in value)
        return ()

    def section(self, *names: str) -> Json:
        """A nested object, empty if missing."""
        value = self.find(*names)
        return value if isinstance(value, Mapping) else {}


def _is_whole(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and 0 <= value <= _LARGEST and float(value).is_integer()
