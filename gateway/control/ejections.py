"""Ejections as events: workers eject on the scoreboard, and somebody has to say so in words."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.control.fleet_state import FleetState, Known
from gateway.control.journal import Journal
from gateway.fleet.ejection import Marks
from gateway.telemetry.scoreboard import Scoreboard

LOOK_S = 1.0
"""How often to look; an ejection lasts many times as long."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A replica's marks at the last look, and the slot in which they were."""

    slot: int
    marks: Marks


class EjectionNotes:
    """Compares the marks of passive health from look to look. `now` is the scoreboard's clock."""

    def __init__(
        self,
        board: Scoreboard,
        state: FleetState,
        journal: Journal,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._state = state
        self._journal = journal
        self._now = now
        self._seen: dict[str, _Seen] = {}

    def look(self) -> None:
        """Note what changed since the last look."""
        slots = self._state.slots
        before, self._seen = self._seen, {}
        for known in self._state.known:
            url = known.seen.url
            if url not in slots:
                continue
            seen = self._seen[url] = _Seen(slots[url], self._board.marks(slots[url]))
            old = before.get(url)
            # Another slot: the marks are those of a replica that came back.
            self._compare(known, old.marks if old and old.slot == seen.slot else Marks(), seen.marks)

    def _compare(self, known: Known, old: Marks, new: Marks) -> None:
        if known.seen.hung:
            return  # whoever found the hang has said so
        if new.round > old.round:
            left_s = max(0.0, new.ejected_until - self._now())
            why = "its trial request failed too" if new.round > 1 else "its requests failed one after another"
            words = f"is left out for {left_s:.0f} s: {why}"
            self._note(known, "ejected", words, logging.WARNING)
        elif old.round and not new.round:
            self._note(known, "returned", "answers again and gets requests", logging.INFO)

    def _note(self, known: Known, kind: str, words: str, level: int) -> None:
        self._journal.note(kind, words, model=known.seen.pool or "", replica=known.seen.url, level=level)
