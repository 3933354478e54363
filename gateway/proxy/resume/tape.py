"""Mode *exact*: the ids of a running stream's tokens, kept for another replica and taken out for the client.

The tape edits events without parsing them: `"token_ids":[` can't occur inside a JSON string, where quotes are
escaped. Ids are kept as the digits they came as.
"""

import re
from typing import Any

import orjson

from gateway.proxy.resume.recording import (
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

_IDS = b'token_ids":['
_IDS_BYTES = len(_IDS)
_NULL = b'token_ids":null'
_ANY_IDS = re.compile(rb'"(prompt_)?token_ids":\[([0-9,]*)\]')
_CHAT_TEXT = b'"delta":{"content":"'
_CHAT_END = b'"},"logprobs":null,"finish_reason":null,"'
_COMPLETION_END = b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"'
_LINE_FEEDS = 2  # of one event
_PLAIN_BYTES = 512
_ODD_ENDS = b'"\xbd'  # of an empty text or a quoted one, and of U+FFFD
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

    __slots__ = (
        *("_begun", "_last_merged", "_plain", "_safe_end", "_shown", "_simple"),
        *("merged", "prompt", "tokens", "withheld"),
    )

    def __init__(self, limit_bytes: int, account: Account, *, client_asked_for_ids: bool) -> None:
        super().__init__(limit_bytes, account)
        self._shown = client_asked_for_ids
        self._last_merged = False
        self._safe_end = 0
        self.prompt = b""
        self.tokens = bytearray()
        self.merged = False
        self.withheld = False
        self._begun = False
        # Ids of plain events that are not counted yet, each event's ended by a semicolon.
        self._plain = bytearray()
        self._simple = False

    def pass_plain(self, data: bytes) -> bytes | None:
        """Nearly every event of nearly every stream: all there is to do at once is in these lines."""
        if not self._simple or data.count(b"\n") != _LINE_FEEDS:
            return None
        at = data.find(_IDS)
        end = data.find(b"]", at)
        if end <= at + _IDS_BYTES or not _is_plain(data, at):
            return None
        self._plain += data[at + _IDS_BYTES : end] + b";"
        if len(self._plain) > _PLAIN_BYTES:
            self.settle()
        return data[:at] + _NULL + data[end + 1 :]

    def edit(self, data: bytes) -> bytes:
        """Record whole events, and return what the client is to see of them.

        Raises `NotAContinuation` when a second replica started over.
        """
        shown = self.pass_plain(data)
        if shown is not None:
            return shown
        self.settle()
        edited = super().edit(data)
        self._simple = self.asked > 0 and not self._shown and self.rejoin is None
        return edited

    def settle(self) -> None:
        """Count what was recorded in passing. To be called before anything is asked."""
        if not self._plain:
            return
        ids = bytes(self._plain[:-1])
        self._plain.clear()
        self.merged = self._last_merged = b"," in ids.rpartition(b";")[2]
        self._append(ids.replace(b";", b","))
        self.stuck = self.reasoning = False
        self.safe, self._safe_end = self.seen, len(self.tokens)

    def _append(self, ids: bytes) -> None:
        self.seen += ids.count(b",") + 1
        if self._keep(len(ids) + 1):
            self.tokens += b"," + ids if self.tokens else ids

    def refusal(self) -> Refusal | None:
        """Why this stream can't be continued, whatever was asked; None when it can."""
        self.settle()
        if self.overflown:
            return "buffer_full"
        if not self.prompt or not self.prefix or self.withheld:
            return "no_token_ids"
        return self._cut_refusal()

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
        self._simple = False
        return None

    def last_ids(self, count: int) -> list[bytes]:
        """The last ids before the safe point, of the answer only."""
        self.settle()
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
        if data.find(self.event_end, 0, -2) < 0:
            return self._event(data)
        return b"".join(map(self._event, events_of(data, self.event_end)))

    def _event(self, event: bytes) -> bytes:
        at = event.find(_IDS)
        if at < 0:
            if _NO_IDS in event:
                self.withheld = True
            if not self.prompt and not self.seen and b'"choices":[{' in event:
                # A second choice without any: this replica was asked for ids and knows none.
                self.useless, self._begun = self._begun, True
            return event
        end = event.find(b"]", at)
        if end < 0:
            return event  # a piece of an event that is too long to be held
        return self._odd_event(event)

    def _odd_event(self, event: bytes) -> bytes:
        edited = _ANY_IDS.sub(self._found, event)
        if ends_in_cut_character(event):
            self.stuck = True  # the client has text of tokens that would have to be made again
        elif b'"content":""' not in event and b'"text":""' not in event and b'"delta":{}' not in event:
            self._move_safe_point(event)
        elif self.seen > self.safe and (self._shown or LOGPROBS in event):
            self.stuck = True  # the client has those
        self._notice(event)
        if self._shown:
            return event
        return b"" if _HELD_TEXT in event else edited

    def _notice(self, data: bytes) -> None:
        if FINISH in data:
            self.finished = True
        if TOOL_CALL in data:
            self.calls_tool = True
        if _NO_IDS in data:
            self.withheld = True

    def _move_safe_point(self, last: bytes) -> None:
        self.stuck = False
        self.safe, self._safe_end = self.seen, len(self.tokens)
        self.merged = self._last_merged
        self.reasoning = REASONING in last
        if TEXT_OFFSET in last:
            self.safe_event = last

    def _found(self, found: re.Match[bytes]) -> bytes:
        is_prompt, ids = found.groups()
        if not is_prompt:
            self._take(ids)
        elif self.rejoin is None:
            self.asked = ids.count(b",") + 1
            if self._keep(len(ids)):
                self.prompt = ids
        return b'"%btoken_ids":null' % (is_prompt or b"")

    def _take(self, ids: bytes) -> None:
        if ids:
            self._last_merged = b"," in ids
            self._append(ids)


def _is_plain(event: bytes, at: int) -> bool:
    """Whether an event with its ids `at` is a piece of text and nothing else, as vLLM 0.32 writes nearly all.

    The short way past a dozen searches. Odd text (none, or perhaps ending in half a character) is not plain.
    """
    if event.endswith(_CHAT_END, 0, at):
        text_end = at - len(_CHAT_END)
        if _CHAT_TEXT not in event:
            return False
    elif event.endswith(_COMPLETION_END, 0, at):
        text_end = at - len(_COMPLETION_END)
    else:
        return False
    return event[text_end - 1] not in _ODD_ENDS and not event.endswith(b"\\ufffd", 0, text_end)
