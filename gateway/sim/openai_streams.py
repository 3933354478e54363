"""OpenAI's event streams, key for key and in the order in which vLLM 0.32 writes them.

The byte layout was recorded from a running server; which keys an event has follows vLLM's pydantic
models (``exclude_unset``): chat's ``stop_reason`` is there on a choice's last event only.
"""

import json
from typing import Any

import orjson

from gateway.sim import logprobs
from gateway.sim.answer import Answer, Choice
from gateway.sim.formats import Delta
from gateway.sim.text import decode
from gateway.sim.vocabulary import TOKEN_TEXT

DONE = b"data: [DONE]\n\n"
_TEXT_JSON = {text: orjson.dumps(text) for text in TOKEN_TEXT if text is not None}


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return a usage object as events carry it."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


class OpenAIStream:
    """What both forms share: an event is bytes around the text, made once per choice."""

    object_name = ""
    before_text = b""  # between the choice's index and the text
    after_text = b""  # of an event that carries nothing but text

    def __init__(self, answer: Answer, fingerprint: str, pad: bytes) -> None:
        """Prepare the pieces.

        Args:
            answer: What is streamed.
            fingerprint: ``system_fingerprint`` of the last event.
            pad: Put before the closing brace of every event of a choice (a fault).
        """
        params = answer.params
        self._answer = answer
        self._params = params
        self._fingerprint = fingerprint
        self._end = pad + b"}\n\n"
        self._head = {
            "id": answer.id,
            "object": self.object_name,
            "created": answer.created,
            "model": params.model,
        }
        prefix = b"data: " + orjson.dumps(self._head)[:-1] + b',"choices":[{"index":'
        self._prefixes = [prefix + b"%d" % choice.index + self.before_text for choice in answer.choices]
        self._is_plain = not (params.return_token_ids or params.continuous_usage)
        self._is_plain &= not params.echo
        self._is_plain &= params.logprobs is None
        self._plain_end = self.after_text + b"]" + self._end

    def delta(self, delta: Delta) -> list[bytes]:
        choice = delta.choice
        if self._is_plain and choice.finish_reason is None:
            text = _TEXT_JSON.get(delta.text) or orjson.dumps(delta.text)
            return [self._prefixes[choice.index] + text + self._plain_end]
        return [b"".join((self._prefixes[choice.index], *self._full(delta), self._tail(choice)))]

    def _full(self, delta: Delta) -> tuple[bytes, bytes]:
        """Return the text and what follows it inside the choice."""
        raise NotImplementedError

    def _ids(self, delta: Delta) -> bytes:
        return orjson.dumps(delta.ids if self._params.return_token_ids else None)

    def _tail(self, choice: Choice) -> bytes:
        """Return what follows the choice: usage, and the fingerprint on the very last event."""
        tail = b"]"
        if self._params.continuous_usage:
            tail += b',"usage":' + orjson.dumps(usage(len(choice.prompt), len(choice.ids)))
        if choice.finish_reason is not None and not self._params.include_usage:
            tail += b',"system_fingerprint":"%b"' % self._fingerprint.encode()
        return tail + self._end

    def closing(self) -> list[bytes]:
        if not self._params.include_usage:
            return [DONE]
        answer = self._answer
        total = usage(answer.prompt_tokens, sum(len(choice.ids) for choice in answer.choices))
        last = {**self._head, "choices": [], "usage": total, "system_fingerprint": self._fingerprint}
        return [_event(last), DONE]

    def error(self, message: str) -> list[bytes]:
        """Return vLLM's error event, made by another serializer (hence the spaces), and its false end."""
        error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
        return [f"data: {json.dumps({'error': error})}\n\n".encode(), DONE]


class ChatStream(OpenAIStream):
    """``chat.completion.chunk`` events; the role event comes with the first token, not earlier."""

    object_name = "chat.completion.chunk"
    before_text = b',"delta":{"content":'
    after_text = b'},"logprobs":null,"finish_reason":null,"token_ids":null}'

    def opening(self) -> list[bytes]:
        params = self._params
        rest: dict[str, Any] = {}
        if params.continuous_usage:
            rest["usage"] = usage(self._answer.prompt_tokens, 0)
        rest["prompt_token_ids"] = params.prompts[0] if params.return_token_ids else None
        rest["prompt_text"] = None
        events = []
        for choice in self._answer.choices:
            delta = {"role": "assistant", "content": ""}
            entry = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None}
            events.append(_event({**self._head, "choices": [entry], **rest}))
        if not params.echo_text:
            return events
        return events + [self._echo(choice) for choice in self._answer.choices]

    def _echo(self, choice: Choice) -> bytes:
        """Return the event that repeats the last message, which the answer goes on in."""
        delta = {"content": self._params.echo_text}
        entry = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None}
        return _event({**self._head, "choices": [entry]})

    def _full(self, delta: Delta) -> tuple[bytes, bytes]:
        choice, top = delta.choice, self._params.logprobs
        said = orjson.dumps(None if top is None else logprobs.chat(delta.ids, top))
        reason = orjson.dumps(choice.finish_reason)
        if choice.finish_reason is not None:
            reason += b',"stop_reason":' + orjson.dumps(choice.stop_reason)
        after = b'},"logprobs":%b,"finish_reason":%b,"token_ids":%b}' % (said, reason, self._ids(delta))
        return orjson.dumps(delta.text), after


class CompletionStream(OpenAIStream):
    """``text_completion`` events; no role event, prompt ids on each choice's first."""

    object_name = "text_completion"
    before_text = b',"text":'
    after_text = (
        b',"logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}'
    )

    def opening(self) -> list[bytes]:
        return []

    def _full(self, delta: Delta) -> tuple[bytes, bytes]:
        choice, params = delta.choice, self._params
        text, said, prompt_ids = delta.text, None, None
        if delta.first and params.echo and not params.return_token_ids:
            text = decode(choice.prompt) + text
        if delta.first and (params.echo or params.return_token_ids):
            prompt_ids = choice.prompt
        if params.logprobs is not None:
            before = choice.ids[: len(choice.ids) - len(delta.ids)]
            said = logprobs.completion(delta.ids, params.logprobs, len(decode(before)))
        values = (said, choice.finish_reason, choice.stop_reason, prompt_ids)
        after = b',"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"prompt_token_ids":%b,"token_ids":%b}'
        return orjson.dumps(text), after % (*map(orjson.dumps, values), self._ids(delta))
