"""Mode *exact*: the ids of a running stream's tokens, kept for another replica and taken out for the client.

The tape edits events without parsing them: `"token_ids":[` can't occur inside a JSON string, where quotes are
escaped. Ids are kept as the digits they came as.
"""

import re
from typing import Any

import orjson

from gateway.proxy.resume.recording import (
    EVENT_END,
    FINISH,
    LOGPROBS,
    REASONING,
    TEXT_OFFSET,
    TOOL_CALL,
    Account,
    Recording,
    Refusal,
    ends_in_cut_character,
    events_of,
)
from gateway.proxy.resume.rejoin import Rejoin, text_length

_IDS = re.compile(rb'"(prompt_)?token_ids":\[([0-9,]*)\]')
_NEXT_EVENT = b"\n\ndata: "
_NO_IDS = b'"token_ids":null'
# vLLM's parsers hold text back, and an event without content is sent only where ids were asked for.
_HELD_TEXT = b'"delta":{},"logprobs":null,"finish_reason":null'


class Tape(Recording):
    """The record of one stream in mode *exact*.

    `prompt` and `tokens` are ids as in JSON, without brackets; `safe` is the length of `tokens`, in ids, up
    to which a continuation is exact: cutting where the text so far ends inside a character makes vLLM's
    detokenizer send the whole prompt as text. `merged` says that the safe point ends an event of several
    tokens: the last of them may have begun a character that is not in its text yet.
    """

    __slots__ = ("_last_merged", "_safe_end", "_shown", "merged", "prompt", "tokens", "withheld")

    def __init__(self, limit_bytes: int, account: Account, *, client_asked_for_ids: bool) -> None:
        super().__init__(limit_bytes, account)
        self._shown = client_asked_for_ids
        self._last_merged = False
        self._safe_end = 0
        self.prompt = b""
        self.tokens = bytearray()
        self.merged = False
        self.withheld = False

    def refusal(self) -> Refusal | None:
        """Why this stream can't be continued, whatever was asked; None when it can."""
        if self.overflown:
            return "buffer_full"
        if not self.prompt or not self.prefix or self.withheld:
            return "no_token_ids"
        if self.stuck:
            return "partial_character"
        if self.reasoning:
            return "reasoning"
        return "tool_call" if self.calls_tool else None

    def extend(self, document: dict[str, Any], path: str) -> Refusal | None:
        """Give the ids so far as the prompt, as measured on vLLM 0.32 to go on exactly.

        vLLM takes `kv_transfer_params.prompt_token_ids` for the rendered chat, with or without a KV connector
        (0.28 and later).
        """
        self._rewind()
        prompt = self.prompt + b"," + self.tokens if self.tokens else self.prompt
        ids = orjson.Fragment(b"[" + prompt + b"]")
        if path == "/v1/completions":
            document["prompt"] = ids
        else:
            document["kv_transfer_params"] = {"prompt_token_ids": ids}
        document.pop("truncate_prompt_tokens", None)  # the ids are what it left
        offset = text_length(self.safe_event) if self.safe_event else 0
        self.rejoin = Rejoin(self.prefix, prompt, self.safe, offset)
        return None

    def last_ids(self, count: int) -> list[bytes]:
        """The last ids before the safe point, of the answer only."""
        return bytes(self.tokens[: self._safe_end]).split(b",")[-count:]

    def take_back(self, ids: list[bytes]) -> None:
        """These last ids have no text yet: the safe point lies before them."""
        self._safe_end = max(0, self._safe_end - sum(len(each) + 1 for each in ids))
        self.safe -= len(ids)
        self.merged = False

    def _rewind(self) -> None:
        """Forget what came after the safe point: the next replica makes it again."""
        del self.tokens[self._safe_end :]
        self.seen = self.safe

    def _forget(self) -> None:
        self.prompt = b""
        self.tokens.clear()

    def _record(self, data: bytes) -> bytes:
        if b'token_ids":[' not in data:
            if _NO_IDS in data:
                self.withheld = True
            return data
        start = data.rfind(_NEXT_EVENT, 0, -2) + 1
        last = data[start:] if start else data
        cut, empty = ends_in_cut_character(last), _has_no_text(last)
        if (cut or empty) and start:
            # Where a stream may be cut depends on each of them, not only on the last.
            return b"".join(map(self._record, events_of(data)))
        edited = _IDS.sub(self._take, data)
        if cut:
            self.stuck = True  # the client has text of tokens that would have to be made again
        elif empty:
            self.stuck = self.stuck or self._shown or LOGPROBS in last  # the client has those
        else:
            self._move_safe_point(last)
        if FINISH in data:
            self.finished = True
        if TOOL_CALL in data:
            self.calls_tool = True
        if _NO_IDS in last:
            self.withheld = True
        if self._shown:
            return data
        return _without_held(edited) if _HELD_TEXT in data else edited

    def _move_safe_point(self, last: bytes) -> None:
        self.stuck = False
        self.safe, self._safe_end = self.seen, len(self.tokens)
        self.merged = self._last_merged
        self.reasoning = REASONING in last
        if TEXT_OFFSET in last:
            self.safe_event = last

    def _take(self, found: re.Match[bytes]) -> bytes:
        is_prompt, ids = found.groups()
        if is_prompt:
            self._take_prompt(ids)
            return b'"prompt_token_ids":null'
        if ids:
            count = ids.count(b",") + 1
            self._last_merged = count > 1
            self.seen += count
            if self._keep(len(ids) + 1):
                self.tokens += b"," + ids if self.tokens else ids
        return b'"token_ids":null'

    def _take_prompt(self, ids: bytes) -> None:
        if self.rejoin is None:
            self.asked = ids.count(b",") + 1
            if self._keep(len(ids)):
                self.prompt = ids


# Not a loop over the marks: a generator costs as much as all of the searches, for every event.
def _has_no_text(event: bytes) -> bool:
    return b'"content":""' in event or b'"text":""' in event or b'"delta":{}' in event


def _without_held(data: bytes) -> bytes:
    events = (event + EVENT_END for event in data.split(EVENT_END) if event)
    return b"".join(event for event in events if _HELD_TEXT not in event)
