"""Stop strings: text is held back while it may still become one, as vLLM's detokenizer does."""


class StopWatch:
    """Watches one choice's text.

    The text that comes out lags by at most the longest stop string less one character; token ids do
    not lag.
    """

    __slots__ = ("_held", "_hold", "_include", "_recent", "_stops", "_window")

    def __init__(self, stops: tuple[str, ...], *, include: bool) -> None:
        self._stops = stops
        self._include = include
        self._window = max(len(stop) for stop in stops) - 1
        self._hold = 0 if include else self._window
        self._recent = ""  # the last characters before the new text, sent or not
        self._held = ""  # not sent yet

    def feed(self, text: str, *, ended: bool) -> tuple[str, str | None]:
        """Take new text; return what may be sent and the stop string that was met, if any.

        Args:
            text: What the last token added.
            ended: The choice ends with this token anyway, so nothing is held back.
        """
        seen = self._recent + text
        pending = self._held + text
        for stop in self._stops:
            at = seen.find(stop)
            if at >= 0:
                keep = len(pending) - (len(seen) - at) + (len(stop) if self._include else 0)
                return pending[:keep], stop
        self._recent = seen[-self._window :] if self._window else ""
        cut = len(pending) if ended else max(0, len(pending) - self._hold)
        self._held = pending[cut:]
        return pending[:cut], None
