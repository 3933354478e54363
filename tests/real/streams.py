"""Answers as a client hears them, streamed and whole, and the questions that are asked for them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_DATA = b"data: "


@dataclass(frozen=True)
class Question:
    """A request for a greedy answer."""

    path: str
    body: dict[str, Any]

    @property
    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))

    @classmethod
    def of(cls, path: str, model: str, text: str, **more: Any) -> "Question":
        asked = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
        return cls(path, {"model": model, **asked, "temperature": 0, **more})


@dataclass
class Heard:
    """What a client has heard of one answer so far."""

    question: Question
    served_by: str = ""
    """Host and port of the replica that began it; empty before the first byte."""
    text: str = ""
    events: int = 0
    roles: int = 0
    ends: int = 0
    identities: set[tuple[str, int, str]] = field(default_factory=set)
    """All (id, created, model) of its events: a stream has one."""
    finishes: list[str] = field(default_factory=list)
    usages: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """From the logprobs, where they were asked for, as the next two."""
    logprobs: list[float] = field(default_factory=list)
    text_offsets: list[int] = field(default_factory=list)
    failure: str | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.ends or self.failure)

    @property
    def answer(self) -> tuple[str, list[str], list[dict[str, Any]], list[str], list[int]]:
        """What must not depend on who gave it. The numbers of logprobs do, in their last digits."""
        return self.text, self.finishes, self.usages, self.tokens, self.text_offsets

    def take(self, line: bytes) -> None:
        """One line of the stream."""
        if not line.startswith(_DATA):
            return
        if line == b"data: [DONE]\n":
            self.ends += 1
            return
        self.take_event(json.loads(line.removeprefix(_DATA)))

    def take_event(self, event: dict[str, Any]) -> None:
        """One event of a stream, or a whole answer."""
        if "error" in event:
            self.failure = event["error"]["message"]
            return
        self.events += 1
        self.identities.add((event["id"], event["created"], event["model"]))
        if event.get("usage"):
            self.usages.append(event["usage"])
        for choice in event["choices"]:
            self._take_choice(choice)

    def _take_choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or choice.get("message") or {}
        self.roles += "role" in delta
        self.text += choice.get("text") or delta.get("content") or ""
        if choice["finish_reason"]:
            self.finishes.append(choice["finish_reason"])
        probabilities = choice.get("logprobs") or {}
        self.text_offsets += probabilities.get("text_offset", ())
        self.tokens += probabilities.get("tokens", ())
        self.logprobs += probabilities.get("token_logprobs", ())
        self.tokens += [entry["token"] for entry in probabilities.get("content") or ()]
        self.logprobs += [entry["logprob"] for entry in probabilities.get("content") or ()]


async def listen(http: aiohttp.ClientSession, server: str, heard: Heard) -> None:
    """Asks the server, and notes what it says as it says it; failures of any kind too."""
    try:
        async with http.post(server + heard.question.path, json=heard.question.body) as response:
            heard.served_by = response.headers.get("x-served-by", "")
            if response.status != 200:
                heard.failure = f"{response.status}: {await response.text()}"
                return
            if not heard.question.is_streamed:
                heard.take_event(await response.json())
                heard.ends += 1
                return
            async for line in response.content:
                heard.take(line)
    except aiohttp.ClientError as error:
        heard.failure = heard.failure or repr(error)
    if not heard.is_over:
        heard.failure = "the stream ended without an end"


async def answers(server: str, questions: Sequence[Question]) -> list[Heard]:
    """The whole answers of one server to all questions at once."""
    heard = [Heard(question) for question in questions]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as http:
        await asyncio.gather(*(listen(http, server, each) for each in heard))
    return heard
