"""What both modes of resuming remember of a stream: how it began, how far it is, and that it is bounded."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from gateway.proxy.resume.rejoin import Rejoin, prefix_of

EVENT = b"data: "
EVENT_END = b"\n\n"
CRLF_END = b"\n\r\n"
FINISH = b'"finish_reason":"'
TOOL_CALL = b'"tool_calls":[{'
LOGPROBS = b'"logprobs":{'
REASONING = b'"delta":{"reasoning'
TEXT_OFFSET = b'"text_offset":['
# Possessive: a pattern that may step back remembers every character of a long event.
_TEXT = re.compile(rb'"(?:content|text)":"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_USAGE_EVENT = b'"choices":[],"usage":{'

_STEP_BYTES = 1 << 10

Account = Callable[[int], bool]
"""Asked before bytes are kept, told when they are given back (negative); False when there is no room."""

Refusal = str
"""Why a stream is not continued: an `outcome` label of `resumed_streams_total`."""


def events_of(data: bytes, end: bytes) -> list[bytes]:
    """The events in it, each with its `end`; a piece of an event at the end stays a piece."""
    *whole, rest = data.split(end)
    events = [event + end for event in whole]
    return [*events, rest] if rest else events


def text_in(event: bytes) -> bytes:
    """The text of an event, as the inside of a JSON string."""
    found = _TEXT.search(event)
    return b"" if found is None else found.group(1)


def ends_in_cut_character(event: bytes) -> bool:
    """Whether the text ends in U+FFFD: half a character, as vLLM writes it."""
    if b'\xef\xbf\xbd"' not in event and b'\\ufffd"' not in event:  # nearly always
        return False
    return text_in(event).endswith((b"\xef\xbf\xbd", b"\\ufffd"))


class Recording(ABC):
    """The record of one stream.

    `seen` are the tokens that the client has, `asked` those of its prompt (0: not known). `safe` is how many
    tokens a continuation goes on from, `safe_event` the event that ends there, kept where it has offsets into
    the text. `stuck`: the client has something of the tokens behind. A stream that outgrows its bound is only
    watched from then on (`overflown`); one that holds nothing to record need not even be watched (`useless`).
    `event_end` is what ends the stream's events. No vLLM writes anything but LF, and how others go on with an
    answer is not known: a stream of theirs has no `prefix`, and without one it is not continued.
    """

    __slots__ = (
        *("_account", "_granted", "_limit", "_room"),
        *(
            "asked",
            "calls_tool",
            "event_end",
            "finished",
            "overflown",
            "prefix",
            "reasoning",
            "rejoin",
            "safe_event",
        ),
        *("safe", "seen", "stuck", "usage_sent", "useless"),
    )

    def __init__(self, limit_bytes: int, account: Account) -> None:
        self._limit = limit_bytes
        self._account = account
        self._granted = self._room = 0
        self.event_end = EVENT_END
        self.prefix = b""
        self.asked = 0
        self.seen = 0
        self.safe = 0
        self.stuck = False
        self.reasoning = False
        self.calls_tool = False
        self.finished = False
        self.usage_sent = False
        self.overflown = False
        self.useless = False
        self.safe_event = b""
        self.rejoin: Rejoin | None = None

    def edit(self, data: bytes) -> bytes:
        """Record whole events, and return what the client is to see of them.

        Raises `NotAContinuation` when a second replica started over.
        """
        if self.rejoin is not None:
            data = self.rejoin.edit(data)
        elif not self.prefix:
            self._begin(data)
        edited = self._record(data)
        if self.finished and _USAGE_EVENT in data:
            self.usage_sent = True
        return edited

    def _begin(self, data: bytes) -> None:
        if CRLF_END in data:
            self.event_end = CRLF_END
        if self.event_end == EVENT_END:
            self.prefix = prefix_of(data)

    def close(self) -> None:
        """Give back what was kept."""
        self._account(-self._granted)
        self._granted = self._room = 0

    def _keep(self, size: int) -> bool:
        """Whether so many more bytes may be kept."""
        self._room -= size
        return self._room >= 0 or self._grow()

    def _grow(self) -> bool:
        """Get room for what is lacking, and some more, so that this is not asked for every token."""
        if self.overflown:
            return False
        more = min(max(-self._room, _STEP_BYTES), self._limit - self._granted)
        if more >= -self._room and self._account(more):
            self._granted += more
            self._room += more
            return True
        self.overflown = True
        self.close()
        self._forget()
        return False

    def _cut_refusal(self) -> Refusal | None:
        """Why the stream can't be continued from just here."""
        if self.calls_tool:
            return "tool_call"
        if self.reasoning:
            return "reasoning"
        return "partial_character" if self.stuck else None

    @abstractmethod
    def _record(self, data: bytes) -> bytes: ...

    @abstractmethod
    def pass_plain(self, data: bytes) -> bytes | None:
        """What the client is to see of one whole event that is a piece of text and nothing else.

        None where it is anything but that, or where this stream needs more care: see `edit`.
        """

    @abstractmethod
    def settle(self) -> None:
        """Count what was recorded in passing. To be called before anything is asked."""

    @abstractmethod
    def _forget(self) -> None: ...

    @abstractmethod
    def refusal(self) -> Refusal | None:
        """Why this stream can't be continued, whatever was asked; None when it can."""

    @abstractmethod
    def extend(self, document: dict[str, Any], path: str) -> Refusal | None:
        """Put what was made so far behind the request's prompt, and expect the events of a continuation.

        The recording is taken back to the end of what the client can be said to have. Returns why the
        request can't be extended, if it can't. Raises `ValueError` where the events make no sense.
        """
