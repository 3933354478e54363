"""What is kept of a running stream so that another replica can continue it, and what the client sees of it.

The tape edits events without parsing them: `"token_ids":[` can't occur inside a JSON string, where quotes are
escaped. Ids are kept as the digits they came as.
"""

import re
from collections.abc import Callable

from gateway.proxy.resume.rejoin import Rejoin, prefix_of

_IDS = re.compile(rb'"(prompt_)?token_ids":\[([0-9,]*)\]')
_NO_IDS = b'"token_ids":null'
_EVENT = b"data: "
_EVENT_END = b"\n\n"
_FINISH = b'"finish_reason":"'
_TOOL_CALL = b'"tool_calls":[{'
_LOGPROBS = b'"logprobs":{'
_TEXT_OFFSET = b'"text_offset":['
_USAGE_EVENT = b'"choices":[],"usage":{'
# vLLM's parsers hold text back, and an event without content is sent only where ids were asked for.
_HELD_TEXT = b'"delta":{},"logprobs":null,"finish_reason":null'

Account = Callable[[int], bool]
"""Asked before bytes are kept, told when they are given back (negative); False when there is no room."""


class Tape:
    """The record of one stream in mode *exact*.

    `prompt` and `tokens` are ids as in JSON, without brackets; `safe` is the length of `tokens`, in ids, up
    to which a continuation is exact: cutting where the text so far ends inside a character makes vLLM's
    detokenizer send the whole prompt as text. `safe_event` is the event that ends there, kept where it has
    logprobs. A stream that outgrows its bound is only edited from then on.
    """

    __slots__ = (
        *("_account", "_kept_bytes", "_limit", "_safe_end", "_shown"),
        *(
            "calls_tool",
            "finished",
            "overflown",
            "prefix",
            "prompt",
            "rejoin",
            "safe",
            "safe_event",
            "seen",
            "stuck",
            "tokens",
            "usage_sent",
            "withheld",
        ),
    )

    def __init__(self, limit_bytes: int, account: Account, *, client_asked_for_ids: bool) -> None:
        self._limit = limit_bytes
        self._account = account
        self._shown = client_asked_for_ids
        self._kept_bytes = 0
        self._safe_end = 0
        self.prefix = b""
        self.prompt = b""
        self.tokens = bytearray()
        self.seen = 0
        self.safe = 0
        self.safe_event = b""
        self.stuck = False
        self.finished = False
        self.usage_sent = False
        self.calls_tool = False
        self.withheld = False
        self.overflown = False
        self.rejoin: Rejoin | None = None

    def edit(self, data: bytes) -> bytes:
        """Record whole events, and return what the client is to see of them.

        Raises `NotAContinuation` when a second replica started over.
        """
        if self.rejoin is not None:
            data = self.rejoin.edit(data)
        elif not self.prefix:
            self.prefix = prefix_of(data)
        if b'token_ids":[' in data:
            edited = self._record(data)
        else:
            edited = data
            self.withheld = self.withheld or _NO_IDS in data
        if self.finished:
            self.usage_sent = self.usage_sent or _USAGE_EVENT in data
        return data if self._shown else edited

    def rewind(self) -> None:
        """Forget what came after the safe point: the next replica makes it again."""
        del self.tokens[self._safe_end :]
        self.seen = self.safe

    def close(self) -> None:
        """Give back what was kept."""
        self._account(-self._kept_bytes)
        self._kept_bytes = 0

    def _record(self, data: bytes) -> bytes:
        last = data[data.rfind(_EVENT, 0, -2) :]
        cut, empty = _ends_in_cut_character(last), _has_no_text(last)
        if (cut or empty) and len(last) < len(data):
            # Where a stream may be cut depends on each of them, not only on the last.
            return b"".join(self._record(event + _EVENT_END) for event in data.split(_EVENT_END) if event)
        edited = _IDS.sub(self._take, data)
        if cut:
            self.stuck = True  # the client has text of tokens that would have to be made again
        elif empty:
            self.stuck = self.stuck or _LOGPROBS in last  # the client has those
        else:
            self.stuck = False
            self.safe, self._safe_end = self.seen, len(self.tokens)
            if _TEXT_OFFSET in last:
                self.safe_event = last
        if _FINISH in data:
            self.finished = True
        if _TOOL_CALL in data:
            self.calls_tool = True
        if _NO_IDS in last:
            self.withheld = True
        return _without_held(edited) if _HELD_TEXT in data else edited

    def _take(self, found: re.Match[bytes]) -> bytes:
        is_prompt, ids = found.groups()
        if self._keep(len(ids) + 1):
            if not is_prompt:
                self._append(ids)
            elif self.rejoin is None:
                self.prompt = ids
        return b'"prompt_token_ids":null' if is_prompt else b'"token_ids":null'

    def _append(self, ids: bytes) -> None:
        if ids:
            self.tokens += b"," + ids if self.tokens else ids
            self.seen += ids.count(b",") + 1

    def _keep(self, size: int) -> bool:
        if self.overflown:
            return False
        if self._kept_bytes + size > self._limit or not self._account(size):
            self.overflown = True
            self.close()
            self.tokens.clear()
            self.prompt = b""
            return False
        self._kept_bytes += size
        return True


# Not loops over the marks: a generator costs as much as all of the searches, for every event.


def _ends_in_cut_character(event: bytes) -> bool:
    return b'\xef\xbf\xbd"' in event or b'\\ufffd"' in event


def _has_no_text(event: bytes) -> bool:
    return b'"content":""' in event or b'"text":""' in event or b'"delta":{}' in event


def _without_held(data: bytes) -> bytes:
    events = (event + _EVENT_END for event in data.split(_EVENT_END) if event)
    return b"".join(event for event in events if _HELD_TEXT not in event)
