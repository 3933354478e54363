"""Events of the replica that took over, dressed as the continuation of what the client already has.

The client sees one stream: one `id`, `created` and `model`, one role event, and usage that counts its own
prompt and the whole answer.
"""

import re
from typing import Annotated

import msgspec

_EVENT = b"data: "
_EVENT_END = b"\n\n"
_PREFIX = re.compile(rb'data: (\{"id":"[^"]*","object":"[^"]*","created":\d+,"model":"[^"]*",)')
_ROLE = b'"delta":{"role":"assistant"'
_USAGE = b'"usage":{'
_PROMPT_IDS = re.compile(rb'"prompt_token_ids":\[([0-9,]*)\]')
_COUNTS = re.compile(rb'"(prompt|completion)_tokens":([0-9]{1,9})(?![0-9])')
_TEXT_OFFSETS = re.compile(rb'(?<="text_offset":\[)[0-9]{1,9}(?:,[0-9]{1,9})*(?=\])')


def prefix_of(data: bytes) -> bytes:
    """What all events of a stream begin with (id, object, created, model); empty when they don't."""
    found = _PREFIX.search(data)
    return b"" if found is None else found.group(1)


class _Logprobs(msgspec.Struct):
    text_offset: Annotated[list[int], msgspec.Meta(min_length=1)]
    tokens: Annotated[list[str], msgspec.Meta(min_length=1)]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs


class _LoggedEvent(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]


def text_length(event: bytes) -> int:
    """How long the text is at the end of a `/v1/completions` event with logprobs, as vLLM counts it.

    Raises `ValueError` when the event is none.
    """
    logged = msgspec.json.decode(event.removeprefix(_EVENT), type=_LoggedEvent).choices[0].logprobs
    return logged.text_offset[-1] + len(logged.tokens[-1])


class NotAContinuation(Exception):
    """The replica did not go on from what it was given: it is a vLLM before 0.28, or none at all."""


class Rejoin:
    """Edits the events of the second replica.

    Args:
        prefix: what the first replica's events began with.
        prompt: the ids the second replica was given as its prompt, as in JSON, without brackets; empty where
            it was given text, and its usage can't be corrected.
        added: how many of those are tokens of the answer, not of the client's prompt.
        text_length: how long their text is, where the client gets offsets into it with its logprobs.
    """

    def __init__(self, prefix: bytes, prompt: bytes, added: int, text_length: int = 0) -> None:
        self._prefix = prefix
        self._prompt = prompt
        self._added = added
        self._text_length = text_length
        self._theirs = b""
        self._checked = False

    def edit(self, data: bytes) -> bytes:
        """Whole events, edited. Raises `NotAContinuation` when the answer starts anew."""
        if not self._checked and _EVENT in data:
            self._checked = True
            if b"\r\n" in data:
                raise NotAContinuation  # no vLLM
            self._theirs = prefix_of(data)
            self._check_prompt(data)
            # The client has its prompt's ids, if it asked for them; these are not its prompt's alone.
            data = _PROMPT_IDS.sub(b'"prompt_token_ids":null', data)
        if _ROLE in data:
            events = (event + _EVENT_END for event in data.split(_EVENT_END) if event)
            data = b"".join(event for event in events if _ROLE not in event)
        if self._theirs != self._prefix and self._theirs:
            data = data.replace(_EVENT + self._theirs, _EVENT + self._prefix)
        if self._text_length:
            data = _TEXT_OFFSETS.sub(self._shifted, data)
        if self._added and _USAGE in data:
            data = _COUNTS.sub(self._moved, data)
        return data

    def _check_prompt(self, data: bytes) -> None:
        if not self._prompt:
            return
        found = _PROMPT_IDS.search(data)
        if found is None or found.group(1) != self._prompt:
            raise NotAContinuation

    def _shifted(self, offsets: re.Match[bytes]) -> bytes:
        return b",".join(b"%d" % (int(offset) + self._text_length) for offset in offsets.group().split(b","))

    def _moved(self, count: re.Match[bytes]) -> bytes:
        """The tokens that were continued from are part of the answer, not of the prompt."""
        name, number = count.groups()
        tokens = int(number) + (self._added if name == b"completion" else -self._added)
        return b'"%b_tokens":%d' % (name, max(0, tokens))
