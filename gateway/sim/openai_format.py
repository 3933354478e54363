"""OpenAI's two forms, /v1/chat/completions and /v1/completions, key for key as vLLM 0.32 writes them.

The byte layout was recorded from a running server; which keys an event has, and in which order, follows
vLLM's pydantic models (``exclude_unset`` on events, every key on bodies).
"""

from typing import Any

import orjson

from gateway.sim import logprobs
from gateway.sim.answer import Answer, Choice
from gateway.sim.formats import Delta
from gateway.sim.text import TOKEN_TEXT, decode

DONE = b"data: [DONE]\n\n"
_TEXT_JSON = {text: orjson.dumps(text) for text in TOKEN_TEXT if text is not None}
_NULL_IDS = b"null"


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


class _OpenAIStream:
    """What both forms share: the event is bytes around the text, made once per choice."""

    object_name = ""
    lead = b""  # between the choice's index and the text

    def __init__(self, answer: Answer, fingerprint: str, pad: bytes) -> None:
        self._answer = answer
        self._params = answer.params
        self._fingerprint = fingerprint
        self._end = pad + b"}\n\n"
        head = {
            "id": answer.id,
            "object": self.object_name,
            "created": answer.created,
            "model": answer.params.model,
        }
        self._head = head
        prefix = b"data: " + orjson.dumps(head)[:-1] + b',"choices":[{"index":'
        self._prefixes = [prefix + b"%d" % choice.index + self.lead for choice in answer.choices]

    def _ids(self, delta: Delta) -> bytes:
        return orjson.dumps(delta.ids) if self._params.return_token_ids else _NULL_IDS

    def _tail(self, choice: Choice, *, finished: bool) -> bytes:
        """What follows the choice in an event: usage, and the fingerprint on a last event."""
        tail = b"]"
        if self._params.continuous_usage:
            tail += b',"usage":' + orjson.dumps(_usage(len(choice.prompt), len(choice.ids)))
        if finished and not self._params.include_usage:
            tail += b',"system_fingerprint":"%b"' % self._fingerprint.encode()
        return tail + self._end

    def closing(self) -> list[bytes]:
        if not self._params.include_usage:
            return [DONE]
        answer = self._answer
        completion = sum(len(choice.ids) for choice in answer.choices)
        usage = _usage(sum(len(prompt) for prompt in answer.params.prompts), completion)
        return [
            _event({**self._head, "choices": [], "usage": usage, "system_fingerprint": self._fingerprint}),
            DONE,
        ]


class ChatStream(_OpenAIStream):
    """``chat.completion.chunk`` events; the role event comes with the first token, not earlier."""

    object_name = "chat.completion.chunk"
    lead = b',"delta":{"content":'

    def opening(self) -> list[bytes]:
        params = self._params
        usage = {"usage": _usage(self._answer.prompt_tokens, 0)} if params.continuous_usage else {}
        ids = params.prompts[0] if params.return_token_ids else None
        events = []
        for choice in self._answer.choices:
            delta = {"role": "assistant", "content": ""}
            entry = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None}
            rest = {**usage, "prompt_token_ids": ids, "prompt_text": None}
            events.append(_event({**self._head, "choices": [entry], **rest}))
        return events

    def delta(self, delta: Delta) -> bytes:
        choice = delta.choice
        text = _TEXT_JSON.get(delta.text) or orjson.dumps(delta.text)
        reason = choice.finish_reason
        said = b"null"
        if self._params.logprobs is not None:
            said = orjson.dumps(logprobs.chat(delta.ids, self._params.logprobs))
        if reason is None:
            middle = b'},"logprobs":%b,"finish_reason":null,"token_ids":%b}'
            return b"".join(
                (
                    self._prefixes[choice.index],
                    text,
                    middle % (said, self._ids(delta)),
                    self._tail(choice, finished=False),
                )
            )
        middle = b'},"logprobs":%b,"finish_reason":"%b","stop_reason":%b,"token_ids":%b}'
        values = (said, reason.encode(), orjson.dumps(choice.stop_reason), self._ids(delta))
        return b"".join(
            (self._prefixes[choice.index], text, middle % values, self._tail(choice, finished=True))
        )


class CompletionStream(_OpenAIStream):
    """``text_completion`` events; no role event, prompt ids on each choice's first."""

    object_name = "text_completion"
    lead = b',"text":'

    def opening(self) -> list[bytes]:
        return []

    def delta(self, delta: Delta) -> bytes:
        choice, params = delta.choice, self._params
        text, ids = delta.text, delta.ids
        prompt_ids = b"null"
        if delta.first and params.echo:
            text = ("" if params.return_token_ids else decode(choice.prompt)) + text
        if delta.first and (params.echo or params.return_token_ids):
            prompt_ids = orjson.dumps(choice.prompt)
        said = b"null"
        if params.logprobs is not None:
            offset = len(decode(choice.ids[: -len(ids)])) if ids else 0
            said = orjson.dumps(logprobs.completion(ids, params.logprobs, offset))
        reason = orjson.dumps(choice.finish_reason)
        stop_reason = orjson.dumps(choice.stop_reason)
        middle = b',"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"prompt_token_ids":%b,"token_ids":%b}'
        middle %= (said, reason, stop_reason, prompt_ids, self._ids(delta))
        return b"".join(
            (
                self._prefixes[choice.index],
                _TEXT_JSON.get(text) or orjson.dumps(text),
                middle,
                self._tail(choice, finished=choice.finish_reason is not None),
            )
        )


class _OpenAIBody:
    def __init__(self, fingerprint: str, pad_bytes: int = 0) -> None:
        self._fingerprint = fingerprint
        self._pad = b',"pad":"%b"' % (b"x" * pad_bytes) if pad_bytes else b""

    def _rest(self, answer: Answer) -> dict[str, Any]:
        usage = _usage(answer.prompt_tokens, sum(len(choice.ids) for choice in answer.choices))
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return {
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": {**usage, **details},
        }

    @staticmethod
    def _head(answer: Answer, object_name: str) -> dict[str, Any]:
        return {
            "id": answer.id,
            "object": object_name,
            "created": answer.created,
            "model": answer.params.model,
        }


class ChatFormat(_OpenAIBody):
    """Format of /v1/chat/completions."""

    def stream(self, answer: Answer) -> ChatStream:
        return ChatStream(answer, self._fingerprint, self._pad)

    def body(self, answer: Answer) -> dict[str, Any]:
        params = answer.params
        choices = [
            {
                "index": choice.index,
                "message": {
                    "role": "assistant", "content": "".join(choice.text), "refusal": None,
                    "annotations": None, "audio": None, "function_call": None, "reasoning": None,
                },
                "logprobs": None if params.logprobs is None else logprobs.chat(choice.ids, params.logprobs),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                "token_ids": choice.ids if params.return_token_ids else None,
                "routed_experts": None,
            }
            for choice in answer.choices
        ]  # fmt: skip
        return {
            **self._head(answer, "chat.completion"),
            "choices": choices,
            **self._rest(answer),
            "prompt_logprobs": None,
            "prompt_token_ids": params.prompts[0] if params.return_token_ids else None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }


class CompletionFormat(_OpenAIBody):
    """Format of /v1/completions."""

    def stream(self, answer: Answer) -> CompletionStream:
        return CompletionStream(answer, self._fingerprint, self._pad)

    def body(self, answer: Answer) -> dict[str, Any]:
        params = answer.params
        choices = [
            {
                "index": choice.index,
                "text": (decode(choice.prompt) if params.echo else "") + "".join(choice.text),
                "logprobs": None
                if params.logprobs is None
                else logprobs.completion(choice.ids, params.logprobs, 0),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                "token_ids": choice.ids if params.return_token_ids else None,
                "prompt_logprobs": None,
                "prompt_token_ids": choice.prompt if params.return_token_ids else None,
                "routed_experts": None,
            }
            for choice in answer.choices
        ]
        return {
            **self._head(answer, "text_completion"),
            "choices": choices,
            **self._rest(answer),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }
