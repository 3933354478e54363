"""Taking hung engines out, and back the moment they move.

The rule is `gateway.fleet.hang`'s; here are its inputs and its effect. A hung replica is ejected on the
scoreboard for a minute, again and again while it stays hung, so that the ejection ends by itself if this
process is gone.
"""

import time
from collections.abc import Callable

from gateway.control.fleet_state import FleetState
from gateway.fleet.hang import Counters, Sample, Silence, listen
from gateway.telemetry.layout import Shared
from gateway.telemetry.scoreboard import NS, Scoreboard

HOLD_S = 60.0


class HangDetector:
    """Watches one replica for a hang. Call `sample` after each reading of its engine's counters."""

    def __init__(
        self, board: Scoreboard, state: FleetState, url: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._board = board
        self._state = state
        self._url = url
        self._now = now
        self._silence: Silence | None = None
        self._hung_since: float | None = None

    @property
    def hung_for_s(self) -> float | None:
        """How long the replica has been out as hung, None when it is not."""
        return None if self._hung_since is None else self._now() - self._hung_since

    @property
    def is_idle(self) -> bool:
        """Whether no request of ours runs there, so that none of them can show that it moves again."""
        slot = self._state.slots.get(self._url)
        return slot is None or self._board.outstanding(slot) == 0

    def sample(self, counters: Counters | None) -> None:
        """Look at the replica; `counters` are None when they could not be read."""
        slot, hang_s = self._state.slots.get(self._url), self._state.plan.hang_s
        if slot is None or hang_s is None:
            self.reset()
            return
        look = Sample(
            at=self._now(),
            outstanding=self._board.outstanding(slot),
            last_byte=self._last_byte(slot),
            counters=counters,
        )
        self._silence = listen(self._silence, look)
        if self._silence.silent_s >= hang_s:
            self._eject(slot, self._silence.silent_s)
        else:
            self._return(slot)

    def notice_byte(self) -> None:
        """Between two samples of a hung replica: whether one of its streams moved."""
        slot = self._state.slots.get(self._url)
        if slot is not None and self._silence and self._last_byte(slot) != self._silence.last.last_byte:
            self.reset()

    def reset(self) -> None:
        """Something moved, or the replica is another one now: begin again."""
        self._silence = None
        slot = self._state.slots.get(self._url)
        if slot is not None:
            self._return(slot)

    def _eject(self, slot: int, silent_s: float) -> None:
        if self._hung_since is None:
            self._hung_since = self._now()
            self._state.set_hung(self._url, hung=True, silent_s=silent_s)
        self._board.cells[self._ejected_until(slot)] = int((self._now() + HOLD_S) * NS)

    def _return(self, slot: int) -> None:
        if self._hung_since is not None:
            self._hung_since = None
            self._board.cells[self._ejected_until(slot)] = 0
            self._state.set_hung(self._url, hung=False)

    def _last_byte(self, slot: int) -> float:
        return self._board.cells[self._board.layout.shared(slot) + Shared.LAST_BYTE] / NS

    def _ejected_until(self, slot: int) -> int:
        return self._board.layout.shared(slot) + Shared.EJECTED_UNTIL
