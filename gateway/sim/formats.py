"""What a generate answer looks like: a stream format and a body per API.

Owns the interface; the OpenAI forms are in `openai_format.py`, the others in `dialects.py`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from gateway.sim.answer import Answer, Choice
from gateway.sim.text import Ids


@dataclass(slots=True)
class Delta:
    """What one stream event carries of a choice: the tokens since its last event."""

    choice: Choice
    ids: Ids
    text: str
    first: bool
    """The choice's first event."""


class StreamFormat(Protocol):
    """Writes the events of one streamed answer. Each returned piece becomes one HTTP chunk."""

    def opening(self) -> list[bytes]:
        """Events before the first token."""

    def delta(self, delta: Delta) -> bytes:
        """The event of one or more tokens."""

    def closing(self) -> list[bytes]:
        """Events after the last token, the end marker included."""


class Format(Protocol):
    """One API's way to answer."""

    def stream(self, answer: Answer) -> StreamFormat: ...
    def body(self, answer: Answer) -> dict[str, Any]: ...
