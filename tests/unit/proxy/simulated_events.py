"""The events that a simulated replica would send, without a socket, an engine or a clock."""

import json
from collections.abc import Mapping
from typing import Any, cast

import orjson

from gateway.sim import params
from gateway.sim.answer import AnswerOwner, Voice
from gateway.sim.connection import Connection, Request
from gateway.sim.faults import NO_FAULTS
from gateway.sim.openai_format import ChatFormat, CompletionFormat
from gateway.sim.outputs import StreamedAnswer
from gateway.sim.text import LanguageModel

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MODEL = "chat"
MAX_LEN = 4096


class _Wire:
    """Takes the chunks of a stream apart again."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def write(self, data: bytes) -> None:
        while data and not data.startswith(b"0\r\n"):
            size, _, rest = data.partition(b"\r\n")
            length = int(size, 16)
            self.events.append(rest[:length])
            data = rest[length + 2 :]

    def end_stream(self, data: bytes = b"", after: bytes = b"") -> None:
        self.write(data)


class _Owner:
    """A replica without an engine."""

    def ignore(self, *_: Any, **__: Any) -> None:
        pass

    started = wake = first_token = ended = done = hang = ignore


def events_of_stream(
    path: str, body: bytes, *, created: int = 1000, emoji: bool = False, request_id: str = "one"
) -> list[bytes]:
    """Each event that answers the request, `[DONE]` included."""
    document = json.loads(body)
    read = params.chat_params if path == CHAT else params.completion_params
    adapter = document["model"] if document["model"] != MODEL else None
    request = Request("POST", path.encode(), [], body, keep_alive=True)
    wanted = read(document, request, document["model"], adapter, MAX_LEN)
    voice = Voice(LanguageModel(MODEL, emoji=emoji), MAX_LEN, tokens_default=32)
    wire = _Wire()
    prefix = "chatcmpl-" if path == CHAT else "cmpl-"
    answer = StreamedAnswer(
        wanted, prefix + request_id, voice, cast("AnswerOwner", _Owner()), cast("Connection", wire)
    )
    answer.created = created
    answer.attach(ChatFormat("fp") if path == CHAT else CompletionFormat("fp"), NO_FAULTS)
    while not answer.over:
        for choice in answer.choices:
            if choice.finish_reason is None:
                choice.advance()
    return wire.events


def request_body(path: str, prompt: str, *, model: str = MODEL, **more: Any) -> bytes:
    """A streaming request; options of None are left out."""
    asked: dict[str, Any] = {"model": model, "stream": True, "temperature": 0}
    if path == CHAT:
        asked["messages"] = [{"role": "user", "content": prompt}]
    else:
        asked["prompt"] = prompt
    return orjson.dumps(asked | {key: value for key, value in more.items() if value is not None})


def choices_of(events: list[bytes]) -> list[Mapping[str, Any]]:
    """The choices of all events, one after another."""
    documents = [json.loads(event.removeprefix(b"data: ")) for event in events if b"[DONE]" not in event]
    return [choice for document in documents for choice in document["choices"]]


def text_of(events: list[bytes]) -> str:
    """What a client would show."""
    choices = choices_of(events)
    return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)


def split(data: bytes) -> list[bytes]:
    """The events in what a client received."""
    return [event + b"\n\n" for event in data.split(b"\n\n") if event]
