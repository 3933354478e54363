"""How much memory a failed start lacked, by its own words. Pure.

Source of the wordings: as in `failures`, and PyTorch's `c10/cuda/CUDACachingAllocator.cpp`.
"""

import re
from collections.abc import Iterable

from gateway.launch.memory.terms import GIB, KIB, MIB

_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB}
_SIZE = r"([\d.]+) (KiB|MiB|GiB)"
_ALLOCATION = re.compile(rf"Tried to allocate {_SIZE}.{{0,120}}?of which {_SIZE} is free", re.DOTALL)
_DIFFERENCES: tuple[tuple[re.Pattern[str], int, int], ...] = (
    (
        re.compile(r"Free memory on device.*?\(([\d.]+)/.*?\([\d.]+, ([\d.]+) GiB\)", re.DOTALL),
        2,
        1,
    ),
    (
        re.compile(
            r"\(?([\d.]+) GiB KV cache is needed, which is larger than the available KV cache memory "
            r"\(([\d.]+) GiB\)"
        ),
        1,
        2,
    ),
    (
        re.compile(r"Available memory on node \d+ \(([\d.]+)/.*?requested memory for kv \(([\d.]+)"),
        2,
        1,
    ),
)  # fmt: skip
"""Wordings in GiB, with the groups of what was needed and of what was there."""


def missing_bytes(lines: Iterable[str]) -> int | None:
    """What more would have been needed on the device; None where the log does not say."""
    text = "\n".join(lines)
    if match := _ALLOCATION.search(text):
        wanted, free = (float(match[n]) * _UNITS[match[n + 1]] for n in (1, 3))
        return max(0, int(wanted - free))
    for pattern, needed, there in _DIFFERENCES:
        if match := pattern.search(text):
            return max(0, int((float(match[needed]) - float(match[there])) * GIB))
    return None
