"""What happened lately: the log, and the last events for the status page."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from gateway.proxy.channel import Event

_LOG = logging.getLogger("gateway")

KEPT_EVENTS = 200


class Journal:
    """The newest events, oldest first. `wall` gives seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)

    @property
    def events(self) -> Sequence[Event]:
        return tuple(self._events)

    def note(
        self, kind: str, message: str, *, model: str = "", replica: str = "", level: int = logging.INFO
    ) -> None:
        """Log a sentence and keep it as an event of this moment."""
        self.keep(Event(time=self._wall(), kind=kind, model=model, replica=replica, message=message), level)

    def keep(self, event: Event, level: int = logging.INFO) -> None:
        """Log and keep what a worker saw."""
        self._events.append(event)
        about = f"{event.replica}: " if event.replica else f"{event.model}: " if event.model else ""
        _LOG.log(level, "%s%s", about, event.message)
