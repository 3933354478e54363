"""One request of each bucket of a duration, so that a slow bucket leads to a line of the access log.

Kept in shared memory beside the counts. A slot has one writer, a worker, and is one cache line: when the
request ended, how long it took, and its id. While it is written it says that it is empty, so that no reader
takes half of one for a whole.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from gateway.telemetry.families import Histogram
from gateway.telemetry.layout import CELL_BYTES, EXEMPLAR_CELLS, EXEMPLAR_OFFSETS, buckets
from gateway.telemetry.scoreboard import NS, Scoreboard

ID_BYTES = (EXEMPLAR_CELLS - 2) * CELL_BYTES
"""Room for an id of our own, a UUID or a trace id."""
EVERY_S = 1.0
"""How long a bucket's request stays at least. Prometheus takes one a scrape; writing costs a microsecond."""
_FIT = re.compile(rf"[A-Za-z0-9._:/+=@~-]{{1,{ID_BYTES}}}")
"""Ids that need no escaping. Clients make up their own, and not every parser gets escapes right."""
_ENDED_AT = Struct("=q")
_REST = Struct(f"=d{ID_BYTES}s")
_SLOT = Struct(f"=qd{ID_BYTES}s")


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A request that a bucket has counted."""

    ended_at: float
    """Unix seconds."""
    seconds: float
    request_id: str


class ExemplarCells:
    """One worker's exemplars of one pool's histogram."""

    __slots__ = ("_due", "_first", "_memory")

    def __init__(self, board: Scoreboard, worker: int, pool: int, family: Histogram) -> None:
        self._memory = board.memory
        self._first = _first(board, worker, pool, family)
        self._due = [0.0] * buckets(family)

    def offer(self, bucket: int, seconds: float, request_id: str, now: float) -> None:
        """Keep the request, unless its bucket has a recent one. `now` is monotonic."""
        if now >= self._due[bucket]:
            self._keep(bucket, seconds, request_id)
            self._due[bucket] = now + EVERY_S

    def _keep(self, bucket: int, seconds: float, request_id: str) -> None:
        if not _FIT.fullmatch(request_id):
            return
        at = self._first + bucket * _SLOT.size
        _ENDED_AT.pack_into(self._memory, at, 0)
        _REST.pack_into(self._memory, at + _ENDED_AT.size, seconds, request_id.encode("ascii"))
        _ENDED_AT.pack_into(self._memory, at, time.time_ns())


def newest(board: Scoreboard, pool: int, family: Histogram) -> Sequence[Exemplar | None]:
    """The newest exemplar of each bucket of a pool's histogram, over all workers; None where none is."""
    firsts = [_first(board, worker, pool, family) for worker in range(board.layout.workers)]
    return [
        _newest(board, [first + bucket * _SLOT.size for first in firsts]) for bucket in range(buckets(family))
    ]


def _newest(board: Scoreboard, places: Sequence[int]) -> Exemplar | None:
    at = max(places, key=lambda place: int(_ENDED_AT.unpack_from(board.memory, place)[0]))
    ended_at, seconds, request_id = _SLOT.unpack_from(board.memory, at)
    if not ended_at or _ENDED_AT.unpack_from(board.memory, at)[0] != ended_at:
        return None
    return Exemplar(ended_at / NS, seconds, request_id.rstrip(b"\0").decode("ascii"))


def _first(board: Scoreboard, worker: int, pool: int, family: Histogram) -> int:
    """The first byte of a histogram's exemplars."""
    return (board.layout.exemplars(worker, pool) + EXEMPLAR_OFFSETS[family.name]) * CELL_BYTES
