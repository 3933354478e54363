"""Failed requests as events for the status page, few enough to be read.

A dying replica fails hundreds of requests a second, each like the one before; one of a kind in a while says
as much. How many there were is what metrics are for.
"""

from collections.abc import Callable

from gateway.proxy.channel import Event
from gateway.telemetry.record import RequestRecord

GAP_S = 10.0
"""Least time between two events of one kind about one replica."""
KEPT = 1024
LONGEST_MESSAGE = 300

_SERVER_ERROR = 500


class Notices:
    """Tells of failures. `now` is any clock, `wall` seconds since the epoch."""

    def __init__(
        self, send: Callable[[Event], None], now: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._send = send
        self._now = now
        self._wall = wall
        self._told: dict[tuple[str, str, str], tuple[float, int]] = {}
        """When each kind was told last, and how many like it were left out since."""

    def observe(self, record: RequestRecord) -> None:
        """Look at a request that is over."""
        if record.status >= _SERVER_ERROR or record.outcome == "broken":
            self._failed(record)

    def _failed(self, record: RequestRecord) -> None:
        kind = "stream_broken" if record.outcome == "broken" else "request_failed"
        about = (kind, record.model, record.replica)
        now = self._now()
        told_at, left_out = self._told.get(about, (float("-inf"), 0))
        if now - told_at < GAP_S:
            self._told[about] = (told_at, left_out + 1)
            return
        if len(self._told) >= KEPT:
            self._told.clear()
        self._told[about] = (now, 0)
        self._send(
            Event(
                time=self._wall(),
                kind=kind,
                model=record.model,
                replica=record.replica,
                message=_words(record, left_out),
            )
        )


def _words(record: RequestRecord, left_out: int) -> str:
    what = record.error or f"answered HTTP {record.status}"
    more = f"; {left_out} more like it before" if left_out else ""
    return f"{what[:LONGEST_MESSAGE].rstrip('.')} (request {record.request_id}{more})"
