"""OpenAI's newer form, POST /v1/responses: one text message, in typed events or one body."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import orjson

from gateway.sim import errors, generate, params
from gateway.sim.answer import Answer
from gateway.sim.body import Body, read_json
from gateway.sim.connection import Request
from gateway.sim.formats import Delta
from gateway.sim.params import GenerateParams
from gateway.sim.routes import Call


def create(call: Call) -> None:
    """POST /v1/responses."""
    generate.start(call, read_json(call.request), response_params, ResponsesFormat(), "resp_")


def response_params(
    body: Body, request: Request, model: str, adapter: str | None, max_model_len: int
) -> GenerateParams:
    """Read a /v1/responses body: ``input`` is a text or a list of messages."""
    given = body.get("input")
    if isinstance(given, str):
        messages: list[Any] = [{"role": "user", "content": given}]
    elif isinstance(given, list):
        messages = [item for item in given if isinstance(item, Mapping)]
    else:
        raise errors.missing_field("input", body)
    if isinstance(body.get("instructions"), str):
        messages = [{"role": "system", "content": body["instructions"]}, *messages]
    chat: Body = {key: body[key] for key in ("temperature", "stream", "seed") if key in body}
    chat |= {"messages": messages, "max_tokens": body.get("max_output_tokens")}
    return params.chat_params(chat, request, model, adapter, max_model_len)


def _message_id(answer: Answer) -> str:
    return f"msg_{answer.id.removeprefix('resp_')}"


def _part(text: str) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": None}


def _item(answer: Answer, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": _message_id(answer), "content": content, "role": "assistant", "status": status,
        "type": "message", "phase": None,
    }  # fmt: skip


def _response(answer: Answer, status: str) -> dict[str, Any]:
    """Return the response object; without output and usage while it is under way."""
    done = status != "in_progress"
    text = "".join(answer.choices[0].text)
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    total = answer.prompt_tokens + answer.generated
    usage = {
        "input_tokens": answer.prompt_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.generated, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": total,
    }  # fmt: skip
    return {
        "id": answer.id, "created_at": answer.created, "incomplete_details": incomplete, "instructions": None,
        "metadata": None, "model": answer.params.model, "object": "response",
        "output": [_item(answer, "completed", [_part(text)])] if done else [],
        "parallel_tool_calls": True, "temperature": answer.params.temperature, "tool_choice": "auto",
        "tools": [], "top_p": 1.0, "background": False, "max_output_tokens": answer.params.max_tokens or 0,
        "max_tool_calls": None, "previous_response_id": None, "prompt": None, "reasoning": None,
        "service_tier": "auto", "status": status, "text": None, "top_logprobs": None,
        "truncation": "disabled", "usage": usage if done else None, "user": None,
    }  # fmt: skip


def _status(answer: Answer) -> str:
    return "incomplete" if answer.choices[0].finish_reason == "length" else "completed"


class ResponsesStream:
    """Typed, numbered events; the end is ``response.completed``, there is no ``[DONE]``."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._numbers: Iterator[int] = count()
        self._place = {"item_id": _message_id(answer), "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **fields: object) -> bytes:
        payload = {**fields, "sequence_number": next(self._numbers), "type": kind}
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(payload))

    def opening(self) -> list[bytes]:
        answer = self._answer
        response = _response(answer, "in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
            self._event("response.output_item.added", item=_item(answer, "in_progress", []), output_index=0),
            self._event("response.content_part.added", **self._place, part=_part("")),
        ]

    def delta(self, delta: Delta) -> list[bytes]:
        return [self._event("response.output_text.delta", **self._place, delta=delta.text, logprobs=[])]

    def closing(self) -> list[bytes]:
        answer = self._answer
        text = "".join(answer.choices[0].text)
        item = _item(answer, "completed", [_part(text)])
        return [
            self._event("response.output_text.done", **self._place, text=text, logprobs=[]),
            self._event("response.content_part.done", **self._place, part=_part(text)),
            self._event("response.output_item.done", item=item, output_index=0),
            self._event("response.completed", response=_response(answer, _status(answer))),
        ]

    def error(self, message: str) -> list[bytes]:
        return [self._event("error", code=None, message=message, param=None)]


class ResponsesFormat:
    """Format of /v1/responses."""

    def stream(self, answer: Answer) -> ResponsesStream:
        return ResponsesStream(answer)

    def body(self, answer: Answer) -> dict[str, Any]:
        return _response(answer, _status(answer))
