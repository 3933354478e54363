"""One generate request under way: its choices, what they have said, and how it ends.

Owns the life of a request between the engine and its output. What the bytes look like is the business
of the formats, where they go that of `StreamedAnswer` and `PlainAnswer`.
"""

import random
import time
from dataclasses import dataclass
from typing import Protocol

from gateway.sim.detokenizer import Detokenizer
from gateway.sim.engine import EngineRequest
from gateway.sim.params import GenerateParams
from gateway.sim.stops import StopWatch
from gateway.sim.text import Ids, LanguageModel
from gateway.sim.vocabulary import ASSISTANT, EOS

_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Voice:
    """What the replica brings to every answer."""

    model: LanguageModel
    max_model_len: int
    tokens_default: int


class AnswerOwner(Protocol):
    """The replica, as far as an answer needs it."""

    def started(self, answer: "Answer") -> None:
        """Put its choices into the engine."""

    def wake(self) -> None:
        """Look for work again: a choice is no longer paused."""

    def first_token(self, answer: "Answer") -> None:
        """The first token of the request is out."""

    def ended(self, choice: "Choice") -> None:
        """Take a choice out of the engine, finished or given up."""

    def done(self, answer: "Answer", *, aborted: bool) -> None:
        """Nothing of the request is left; `aborted` by its client."""

    def hang(self) -> None:
        """The engine stands still from now on (a fault)."""


class Choice(EngineRequest):
    """One sequence: says a token each time the engine has computed one."""

    __slots__ = (
        "_detokenizer", "_eos_at", "_limit", "_speaker", "_watch",
        "answer", "finish_reason", "ids", "index", "prompt", "stop_reason", "text",
    )  # fmt: skip

    def __init__(self, answer: "Answer", index: int, prompt: Ids, voice: Voice) -> None:
        params = answer.params
        super().__init__(len(prompt), params.priority)
        self.answer = answer
        self.index = index
        self.prompt = prompt
        self.ids: Ids = []
        self.text: list[str] = []
        self.finish_reason: str | None = None
        self.stop_reason: str | None = None
        self._limit = min(params.max_tokens or _NEVER, voice.max_model_len - len(prompt))
        self._eos_at = _NEVER
        if params.max_tokens is None and not params.ignore_eos:
            # Counted from where the assistant began to speak, so that an answer continued on another
            # replica ends where the uninterrupted one would have.
            self._eos_at = max(params.min_tokens, voice.tokens_default - _already_said(prompt))
        rng = None
        if params.temperature > 0:
            rng = random.Random(None if params.seed is None else params.seed + index)  # noqa: S311 - no secret
        self._speaker = voice.model.speaker(params.adapter, prompt, rng)
        self._detokenizer = Detokenizer(prompt)
        self._watch = StopWatch(params.stop, include=params.include_stop) if params.stop else None

    def advance(self) -> None:
        """Say the next token, or let the fault strike that waits here."""
        answer = self.answer
        if answer.trip_at <= answer.generated:
            answer.trip()
            return
        answer.generated += 1
        if len(self.ids) >= self._eos_at:
            token, text, finish = EOS, "", "stop"
        else:
            token = self._speaker.next_token()
            text = self._detokenizer.feed(token)
            finish = "length" if len(self.ids) + 1 >= self._limit else ""
        self.ids.append(token)
        if self._watch:
            text, self.stop_reason = self._watch.feed(text, ended=bool(finish))
            if self.stop_reason is not None:
                finish = "stop"
        self.text.append(text)
        self.finish_reason = finish or None
        answer.said(self, token, text)


def _already_said(prompt: Ids) -> int:
    """Count the tokens after the last assistant marker; none if there is no marker."""
    return next((back for back, token in enumerate(reversed(prompt)) if token == ASSISTANT), 0)


class Answer:
    """A request's choices and counts. Subclasses put the tokens somewhere.

    Implements the connection's `Exchange`: pausing withholds this answer's choices from the engine.
    """

    def __init__(self, params: GenerateParams, request_id: str, voice: Voice, owner: AnswerOwner) -> None:
        self.params = params
        self.id = request_id
        self.created = int(time.time())
        self.received_at = time.monotonic()
        self.first_token_at: float | None = None
        self.generated = 0
        self.trip_at = _NEVER
        self.trip_fault = ""
        self.owner = owner
        self.choices = [
            Choice(self, number * params.n + i, prompt, voice)
            for number, prompt in enumerate(params.prompts)
            for i in range(params.n)
        ]
        self.prompt_tokens = sum(len(prompt) for prompt in params.prompts)
        self._open = len(self.choices)
        self.over = False

    def set_trip(self, after_tokens: int, fault: str) -> None:
        """Let a fault strike in place of the token after so many."""
        self.trip_at = after_tokens
        self.trip_fault = fault

    def enter_engine(self) -> None:
        if not self.over:
            self.owner.started(self)

    # -- from the engine --

    def said(self, choice: Choice, token: int, text: str) -> None:
        """Pass a choice's newest token on and end the choice, and the answer, when it was the last."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
            self.owner.first_token(self)
            self.begin_output()
        self.output(choice, token, text)
        if choice.finish_reason is not None:
            self._end(choice)

    def _end(self, choice: Choice) -> None:
        self.owner.ended(choice)
        self._open -= 1
        if self._open == 0 and not self.over:
            self._finish(aborted=False)
            self.complete()

    def trip(self) -> None:
        """Let the fault strike that was set for this point."""
        self.trip_at = _NEVER
        if self.trip_fault == "stall_after_tokens":
            self.pause()
        elif self.trip_fault == "hang_after_tokens":
            self.owner.hang()
        elif self.trip_fault == "abort_after_tokens":
            self.abort()
        else:
            self.give_up()
            self.strike(self.trip_fault)

    # -- from the server and the connection --

    def abort(self) -> None:
        """End on the server's decision: the text so far stands, ``finish_reason`` is "abort"."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
            self.begin_output()
        for choice in self.choices:
            if choice.finish_reason is None:
                choice.finish_reason = "abort"
                self.output_abort(choice)
                self._end(choice)

    def give_up(self) -> None:
        """Take everything out of the engine without completing the output."""
        if not self.over:
            for choice in self.choices:
                self.owner.ended(choice)
            self._finish(aborted=False)

    def disconnected(self) -> None:
        if not self.over:
            for choice in self.choices:
                self.owner.ended(choice)
            self._finish(aborted=True)

    def pause(self) -> None:
        for choice in self.choices:
            choice.paused = True

    def resume(self) -> None:
        for choice in self.choices:
            choice.paused = False
        self.owner.wake()

    def _finish(self, *, aborted: bool) -> None:
        self.over = True
        self.owner.done(self, aborted=aborted)

    # -- for subclasses --

    def begin_output(self) -> None:
        """Before the first token, once."""

    def output(self, choice: Choice, token: int, text: str) -> None:
        """Pass a token on; `choice.finish_reason` is set if it was the choice's last."""
        raise NotImplementedError

    def output_abort(self, choice: Choice) -> None:
        """Say that a choice ended without a further token."""

    def complete(self) -> None:
        """All choices have ended."""
        raise NotImplementedError

    def strike(self, fault: str) -> None:
        """Break the output in the way `fault` names; the engine has forgotten the answer already."""
        raise NotImplementedError
