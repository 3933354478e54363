"""Anthropic's form, POST /v1/messages, as vLLM converts its own chat answers to it."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.sim import errors, generate, params
from gateway.sim.answer import Answer, Choice
from gateway.sim.body import Body, chat_messages, read_json
from gateway.sim.connection import Request
from gateway.sim.formats import Delta
from gateway.sim.params import GenerateParams
from gateway.sim.routes import Call
from gateway.sim.text import content_text, prompt_ids
from gateway.sim.wire import JSON, Response


def create(call: Call) -> None:
    """POST /v1/messages."""
    body = read_json(call.request)
    generate.start(call, body, message_params, MessagesFormat(), "chatcmpl-")


def count_tokens(call: Call) -> Response:
    """POST /v1/messages/count_tokens."""
    body = read_json(call.request)
    call.state.resolve(body.get("model"))
    return Response(200, orjson.dumps({"input_tokens": len(prompt_ids(_messages(body)))}), JSON)


def message_params(
    body: Body, request: Request, model: str, adapter: str | None, max_model_len: int
) -> GenerateParams:
    """Read a /v1/messages body: ``max_tokens`` is required, ``system`` stands outside the messages."""
    messages = _messages(body)
    if "max_tokens" not in body:
        raise errors.missing_field("max_tokens", body)
    chat: Body = {key: body[key] for key in ("max_tokens", "temperature", "stream") if key in body}
    chat |= {"messages": messages, "stop": body.get("stop_sequences")}
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    return params.chat_params(chat, request, model, adapter, max_model_len)


def _messages(body: Body) -> list[Mapping[str, Any]]:
    messages = chat_messages(body)
    system = content_text(body.get("system"))
    return [{"role": "system", "content": system}, *messages] if system else messages


def _stop_reason(choice: Choice) -> tuple[str | None, str | None]:
    if choice.finish_reason == "length":
        return "max_tokens", None
    if choice.finish_reason != "stop":
        return None, None
    return ("end_turn", None) if choice.stop_reason is None else ("stop_sequence", choice.stop_reason)


def _usage(answer: Answer, *, output: bool) -> dict[str, int]:
    return {"input_tokens": answer.prompt_tokens, "output_tokens": answer.generated if output else 0}


def _event(payload: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), orjson.dumps(payload))


class MessagesStream:
    """Anthropic's events; each is one chunk, the end is ``message_stop``, there is no ``[DONE]``."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open = False

    def opening(self) -> list[bytes]:
        answer = self._answer
        message: dict[str, Any] = {
            "id": answer.id, "type": "message", "role": "assistant", "content": [],
            "model": answer.params.model, "stop_reason": None, "stop_sequence": None,
            "usage": _usage(answer, output=False),
        }  # fmt: skip
        return [_event({"type": "message_start", "message": message})]

    def delta(self, delta: Delta) -> list[bytes]:
        if not delta.text:
            return []
        events = []
        if not self._open:
            self._open = True
            block = {"type": "text", "text": ""}
            events.append(_event({"type": "content_block_start", "index": 0, "content_block": block}))
        text = {"type": "text_delta", "text": delta.text}
        return [*events, _event({"type": "content_block_delta", "index": 0, "delta": text})]

    def closing(self) -> list[bytes]:
        answer = self._answer
        events = [_event({"type": "content_block_stop", "index": 0})] if self._open else []
        reason, sequence = _stop_reason(answer.choices[0])
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        usage = _usage(answer, output=True)
        return [
            *events,
            _event({"type": "message_delta", "delta": delta, "usage": usage}),
            _event({"type": "message_stop"}),
        ]

    def error(self, message: str) -> list[bytes]:
        return [_event({"type": "error", "error": {"type": "internal_error", "message": message}})]


class MessagesFormat:
    """Format of /v1/messages."""

    def stream(self, answer: Answer) -> MessagesStream:
        return MessagesStream(answer)

    def body(self, answer: Answer) -> dict[str, Any]:
        choice = answer.choices[0]
        reason, sequence = _stop_reason(choice)
        body = {
            "id": answer.id, "type": "message", "role": "assistant",
            "content": [{"type": "text", "text": "".join(choice.text)}],
            "model": answer.params.model, "stop_reason": reason, "stop_sequence": sequence,
            "usage": _usage(answer, output=True),
        }  # fmt: skip
        return {key: value for key, value in body.items() if value is not None}
