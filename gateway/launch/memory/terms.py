"""A number of bytes that knows where it came from.

Every term of a budget carries its origin, so that a plan can say which of its numbers to trust.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


class Origin(StrEnum):
    """How a term was found, best first."""

    MEASURED = "measured"
    """Read from the log of an earlier start of this very instance."""
    EXACT = "exact"
    """Follows from the checkpoint's tensors or from vLLM's own arithmetic."""
    CONFIG = "from config"
    """Computed from config.json alone: right to about one per cent where the architecture is known."""
    FITTED = "fitted"
    """A constant fitted to published start-up logs: a guess with a margin."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a memory budget, per GPU."""

    size_bytes: int
    origin: Origin

    @property
    def gib(self) -> float:
        """Size in GiB (2^30 bytes)."""
        return self.size_bytes / GIB


class UnmodelledError(ValueError):
    """Something that the memory model does not cover; the message says what, in plain words."""


def ceil_div(dividend: int, divisor: int) -> int:
    """Integer division, rounded up."""
    return -(-dividend // divisor)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return ceil_div(value, multiple) * multiple


def total_bytes(terms: Iterable[Term]) -> int:
    """Sum of the terms' sizes."""
    return sum(term.size_bytes for term in terms)
