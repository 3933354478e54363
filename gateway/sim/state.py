"""A replica's state: names, adapters, running answers, faults, counts.

Owns everything that two requests share. Must never parse a request or write a byte.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from zlib import crc32

from gateway.sim import errors
from gateway.sim.answer import Answer, Choice, Voice
from gateway.sim.clock import EngineClock
from gateway.sim.connection import Request
from gateway.sim.engine import EngineRequest
from gateway.sim.faults import FaultDraw, Faults, changed
from gateway.sim.options import SimOptions
from gateway.sim.text import LanguageModel
from gateway.sim.timings import Timings

VERSION = "0.32.0"
_LOGGED_REQUESTS = 200


@dataclass(slots=True)
class LoggedRequest:
    """What came in, for tests that check what a gateway sent. The body is kept as its hash only."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body_sha256: str
    body_bytes: int
    model: str | None = None
    adapter: str | None = None


class ReplicaState:
    """One replica from its start to its end. Implements `AnswerOwner`."""

    def __init__(
        self, options: SimOptions, loop: asyncio.AbstractEventLoop, on_faults: Callable[[Faults], None]
    ) -> None:
        """Begin idle.

        Args:
            options: What the replica is.
            loop: Where its engine runs.
            on_faults: Called when the faults have changed, to open or close what listens.
        """
        self.options = options
        self.loop = loop
        self.voice = Voice(
            LanguageModel(options.model, emoji=options.emoji), options.max_model_len, options.tokens_default
        )
        self.fingerprint = (
            f"vllm-{VERSION}-{crc32(repr((options.model, options.max_model_len)).encode()):08x}"
        )
        self.adapters = dict(options.adapters)
        self.clock = EngineClock(options.engine, loop, _deliver)
        self.timings = Timings()
        self.answers: dict[Answer, None] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.http_requests: Counter[tuple[str, str, str]] = Counter()
        self.finished: Counter[str] = Counter()
        self.aborted = 0
        self.rejected = 0
        self.sleep_level: int | None = None
        self.log: deque[LoggedRequest] = deque(maxlen=_LOGGED_REQUESTS)
        self._on_faults = on_faults
        self._draw = FaultDraw(options.faults)

    # -- names --

    def resolve(self, name: object) -> tuple[str, str | None]:
        """Find the model a request names.

        Returns:
            The name to answer with, and the adapter if it is one. A missing or empty name means the
            base model, as under vLLM.

        Raises:
            ApiError: Neither a served name nor a loaded adapter.
        """
        names = self.options.names
        if name is None or name == "":
            return names[0], None
        if isinstance(name, str) and name in names:
            return name, None
        if isinstance(name, str) and name in self.adapters:
            return name, name
        raise errors.unknown_model(str(name), names, pooling=self.options.pooling)

    # -- faults --

    @property
    def faults(self) -> Faults:
        return self._draw.faults

    def set_faults(self, changes: Mapping[str, Any]) -> None:
        """Change some faults; None puts one back to its default. Draws start over.

        Raises:
            ValueError: Not a fault, or not a value for it.
        """
        self._replace_faults(changed(self.faults, changes))

    def clear_faults(self) -> None:
        self._replace_faults(Faults())

    def draw_faults(self) -> Faults:
        """Decide which faults strike the request that came now."""
        return self._draw.next_request()

    def _replace_faults(self, faults: Faults) -> None:
        self._draw = FaultDraw(faults)
        self._apply_frozen()
        self._on_faults(faults)

    def _apply_frozen(self) -> None:
        self.clock.frozen = self.faults.freezes or self.sleep_level is not None

    def sleep(self, level: int | None) -> None:
        """Put the engine to sleep, or wake it with None."""
        self.sleep_level = level
        self._apply_frozen()

    # -- requests --

    def record(self, request: Request) -> LoggedRequest:
        entry = LoggedRequest(
            request.method, request.path, request.headers, sha256(request.body).hexdigest(), len(request.body)
        )
        self.log.append(entry)
        return entry

    def count(self, entry: LoggedRequest, model: str, adapter: str | None) -> None:
        """Count an inference request for its model."""
        entry.model, entry.adapter = model, adapter
        self.requests[model, adapter or ""] += 1

    # -- answers (AnswerOwner) --

    def started(self, answer: Answer) -> None:
        self.answers[answer] = None
        for choice in answer.choices:
            self.clock.add(choice)

    def wake(self) -> None:
        self.clock.resume()

    def first_token(self, answer: Answer) -> None:
        if answer.first_token_at is not None:
            self.timings.time_to_first_token.observe(answer.first_token_at - answer.received_at)

    def ended(self, choice: Choice) -> None:
        self.clock.remove(choice)

    def done(self, answer: Answer, *, aborted: bool) -> None:
        self.answers.pop(answer, None)
        if aborted:
            self.aborted += 1
            return
        for choice in answer.choices:
            # vLLM counts its own aborts here, not the clients that hang up.
            self.finished[choice.finish_reason or "error"] += 1
        self.timings.finished(answer)

    def hang(self) -> None:
        self.set_faults({"freeze": True, "hang_after_tokens": None})

    def abort_answers(self, ids: Sequence[str] | None = None) -> int:
        """End running answers with ``finish_reason: "abort"``; all of them without `ids`."""
        chosen = [answer for answer in self.answers if ids is None or answer.id in ids]
        for answer in chosen:
            answer.abort()
        return len(chosen)


def _deliver(requests: Sequence[EngineRequest]) -> None:
    for request in requests:
        request.advance()
