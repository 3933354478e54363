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
        """Return the events before the first token."""

    def delta(self, delta: Delta) -> list[bytes]:
        """Return the events of one or more tokens; normally one."""

    def closing(self) -> list[bytes]:
        """Return the events after the last token, the end marker included."""

    def error(self, message: str) -> list[bytes]:
        """Return the events of an engine that died, and what follows them."""


class Format(Protocol):
    """One API's way to answer."""

    def stream(self, answer: Answer) -> StreamFormat: ...
    def body(self, answer: Answer) -> dict[str, Any]: ...
