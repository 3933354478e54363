"""Reads one streamed answer as a client does, and times it. The clock comes in from outside."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

DONE = b"data: [DONE]"
DATA = b"data: "


@dataclass(slots=True)
class StreamedAnswer:
    """What came, and when. Times in seconds of the given clock."""

    began: float
    first: float | None = None
    last: float | None = None
    gaps_s: list[float] = field(default_factory=list)
    """Between one event with text and the next: what a reader sees as the pace."""
    text: str = ""
    tokens: int = 0
    """As the server's usage says; without it, the events with text."""
    prompt_tokens: int = 0
    """As the server's usage says."""
    left: bool = False
    problem: str = ""

    def ttft_s(self) -> float | None:
        """Time to the first event with text."""
        return None if self.first is None else self.first - self.began

    def tokens_per_s(self) -> float | None:
        """The pace after the first token; None for answers too short to have one."""
        if self.first is None or self.last is None or self.last <= self.first or self.tokens < 2:
            return None
        return (self.tokens - 1) / (self.last - self.first)

    def hear(self, text: str, now: float) -> None:
        if self.last is None:
            self.first = now
        else:
            self.gaps_s.append(now - self.last)
        self.last = now
        self.text += text
        self.tokens += 1


def read_stream(
    read_event: Callable[[], bytes],
    clock: Callable[[], float],
    began: float,
    leave_after: int | None = None,
) -> StreamedAnswer:
    """Read events until the end marker, an error, or `leave_after` events with text.

    `read_event` returns one event with its blank line, and b"" at the end of the body. An end without
    `[DONE]` and an error event are problems, whatever the status was: that is how a broken stream shows.
    """
    answer = StreamedAnswer(began)
    usage = None
    while (event := read_event()).startswith(DATA):
        if event.startswith(DONE):
            answer.tokens = usage or answer.tokens
            return answer
        now = clock()
        content = orjson.loads(event[len(DATA) :])
        if "error" in content:
            answer.problem = f"error event: {content['error'].get('message', '')}"
            return answer
        if content.get("usage"):
            usage = content["usage"]["completion_tokens"]
            answer.prompt_tokens = content["usage"].get("prompt_tokens", 0)
        for choice in content["choices"]:
            if text := choice["delta"].get("content"):
                answer.hear(text, now)
        if leave_after is not None and answer.tokens >= leave_after:
            answer.left = True
            return answer
    answer.problem = "the stream ended without its end marker" if not event else "not an event stream"
    return answer
