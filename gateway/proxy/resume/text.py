"""Mode *text*: the text of a running stream, kept for another replica. Nothing is added to the request.

Right wherever the text so far becomes the same tokens again, which is most answers, but not all.
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
    text_in,
)
from gateway.proxy.resume.rejoin import Rejoin, text_length

_CHOICE = b'"choices":[{'
_ROLE = b'"delta":{"role":'
_SHOWN_IDS = b'"token_ids":['
_USAGE = re.compile(rb'"usage":\{"prompt_tokens":(\d+),"total_tokens":\d+,"completion_tokens":(\d+)')


class TextTape(Recording):
    """The record of one stream in mode *text*. `text` is the inside of a JSON string."""

    __slots__ = ("text",)

    def __init__(self, limit_bytes: int, account: Account) -> None:
        super().__init__(limit_bytes, account)
        self.text = bytearray()

    def pass_plain(self, data: bytes) -> bytes | None:
        """None: no event is so plain that its text need not be looked for."""
        return None

    def settle(self) -> None:
        """Everything is counted as it comes."""

    def refusal(self) -> Refusal | None:
        """Why this stream can't be continued, whatever was asked; None when it can."""
        if self.overflown:
            return "buffer_full"
        if not self.prefix:
            return "unsupported_request"
        return self._cut_refusal()

    def extend(self, document: dict[str, Any], path: str) -> Refusal | None:
        """Put the text behind the prompt, or into a last message that is to be continued."""
        if document.get("truncate_prompt_tokens") is not None:
            return "unsupported_request"
        try:
            text: str = orjson.loads(b'"' + self.text + b'"')
        except orjson.JSONDecodeError:  # half of a surrogate pair
            return "partial_character"
        if path == "/v1/completions":
            refusal = _extend_prompt(document, text)
        else:
            refusal = _extend_messages(document, text)
        if refusal is None:
            self.seen = self.safe
            offset = text_length(self.safe_event) if self.safe_event else 0
            self.rejoin = Rejoin(self.prefix, b"", self.safe, offset)
        return refusal

    def _forget(self) -> None:
        self.text.clear()

    def _record(self, data: bytes) -> bytes:
        for event in events_of(data, self.event_end):
            if _CHOICE in event and event.endswith(self.event_end):
                self._take(event)
        return data

    def _take(self, event: bytes) -> None:
        if _ROLE not in event:
            self.seen += 1  # an event is one token, unless vLLM had no time to send each by itself
        if counts := _USAGE.search(event):
            self.asked, self.seen = map(int, counts.groups())
        if text := text_in(event):
            self._take_text(text, event)
        else:
            # The next replica will make its tokens again: what the client has of them must be nothing.
            self.stuck = self.stuck or LOGPROBS in event or _SHOWN_IDS in event
        # Other than ids, the text does not say that there was reasoning before it.
        self.reasoning = self.reasoning or REASONING in event
        self.calls_tool = self.calls_tool or TOOL_CALL in event
        self.finished = self.finished or FINISH in event

    def _take_text(self, text: bytes, event: bytes) -> None:
        self.stuck = ends_in_cut_character(event)
        self.safe = self.seen
        if TEXT_OFFSET in event:
            self.safe_event = event
        if self._keep(len(text)):
            self.text += text


def _extend_prompt(document: dict[str, Any], text: str) -> Refusal | None:
    prompt = document.get("prompt")
    if not isinstance(prompt, str):
        return "unsupported_request"
    document["prompt"] = prompt + text
    return None


def _extend_messages(document: dict[str, Any], text: str) -> Refusal | None:
    messages = document.get("messages")
    begun = document.get("continue_final_message") or document.get("add_generation_prompt") is False
    if not isinstance(messages, list) or begun:
        return "unsupported_request"
    if text:
        document["messages"] = [*messages, {"role": "assistant", "content": text}]
        document["add_generation_prompt"], document["continue_final_message"] = False, True
    return None
