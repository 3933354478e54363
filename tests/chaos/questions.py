"""What is asked, and whether an answer is right to the byte: the simulated model is deterministic."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from gateway.sim import expected_text

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ADAPTERS = {"alpha": "alpha-sql", "beta": "beta-law"}
ALIASES = {"alpha": "gpt-alpha"}
WORDS = ("the", "quiet", "engine", "follows", "a", "bright", "letter", "near", "every", "old", "bridge")


@dataclass(frozen=True, slots=True)
class Question:
    """One request. `spoken_by` is the adapter that answers, `tokens` how long the answer is."""

    path: str
    body: dict[str, Any]
    model: str
    spoken_by: str | None
    tokens: int

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def can_resume(self) -> bool:
        """Whether another replica can go on with the stream."""
        return self.streams and self.body["n"] == 1 and "seed" not in self.body

    @property
    def text(self) -> str | None:
        """The answer; None where it is drawn by lot."""
        if self.body["temperature"] > 0:
            return None
        prompt = self.body["messages"] if self.path == CHAT else self.body["prompt"]
        return expected_text(self.model, self.spoken_by, prompt, self.tokens)

    def fault_in(self, body: bytes) -> str | None:
        """What is wrong with a complete answer, in a few words."""
        if not self.streams:
            return self._fault_in_document(orjson.loads(body))
        *events, end = split(body)
        if end != b"[DONE]":
            return f"ends with {end[:40]!r}"
        return self._fault_in_events([orjson.loads(event) for event in events])

    def fault_in_part(self, body: bytes) -> str | None:
        """What is wrong with an answer that ended too early: what there is must be the beginning."""
        documents = [orjson.loads(event) for event in split(body) if event != b"[DONE]"]
        said = _text([document for document in documents if "error" not in document], 0)
        if self.text is not None and not self.text.startswith(said):
            return f"a broken stream said {said[-60:]!r}"
        return None

    def _fault_in_document(self, document: Any) -> str | None:
        for choice in document["choices"]:
            said = choice["text"] if "text" in choice else choice["message"]["content"]
            if self.text not in (None, said):
                return f"said {said[-60:]!r}"
        return self._fault_in_usage(document["usage"])

    def _fault_in_events(self, events: Sequence[Any]) -> str | None:
        heads = {(event["id"], event["object"], event["created"], event["model"]) for event in events}
        choices = [choice for event in events for choice in event["choices"]]
        roles = sum("role" in choice.get("delta", {}) for choice in choices)
        finishes = sum(choice["finish_reason"] is not None for choice in choices)
        count = self.body["n"]
        if (len(heads), roles, finishes) != (1, count * (self.path == CHAT), count):
            return f"{len(heads)} heads, {roles} roles, {finishes} finishes"
        for index in range(count):
            if self.text not in (None, _text(events, index)):
                return f"said {_text(events, index)[-60:]!r}"
        if not self.body.get("return_token_ids") and any(choice.get("token_ids") for choice in choices):
            return "shows token ids"
        return self._fault_in_usage(events[-1].get("usage")) if self.body.get("stream_options") else None

    def _fault_in_usage(self, usage: Any) -> str | None:
        right = usage is not None and usage["completion_tokens"] == self.tokens * self.body["n"]
        if not right or usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
            return f"usage {usage}"
        return None


def split(body: bytes) -> list[bytes]:
    """The data of each event."""
    return [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]


def _text(events: Sequence[Any], index: int) -> str:
    choices = (c for event in events for c in event["choices"] if c["index"] == index)
    return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)


def draw(rng: Random) -> Question:
    """The next question: mostly plain streams, and some of everything else that clients ask for."""
    path = rng.choice((CHAT, CHAT, COMPLETIONS))
    model = rng.choice(tuple(ADAPTERS))
    adapter = ADAPTERS[model] if rng.random() < 0.25 else None
    name = adapter or (ALIASES.get(model, model) if rng.random() < 0.3 else model)
    tokens = rng.randint(4, 70)
    prompt = " ".join(rng.choices(WORDS, k=rng.randint(3, 40)))
    stream = rng.random() < 0.85
    body: dict[str, Any] = {"model": name, "max_tokens": tokens, "temperature": 0, "n": 1, "stream": stream}
    body |= {"prompt": prompt} if path == COMPLETIONS else {"messages": [{"role": "user", "content": prompt}]}
    if stream and rng.random() < 0.4:
        body["stream_options"] = {"include_usage": True, "continuous_usage_stats": rng.random() < 0.3}
    body |= rng.choice(_EXTRAS)(path) if rng.random() < 0.3 else {}
    return Question(path, body, model, adapter, tokens)


_EXTRAS = (
    lambda _: {"repetition_penalty": 1.1},
    lambda _: {"return_token_ids": True},
    lambda _: {"stream_interval": 3},
    lambda path: {"logprobs": True, "top_logprobs": 2} if path == CHAT else {"logprobs": 2},
    lambda _: {"temperature": 0.8},
    lambda _: {"temperature": 0.8, "seed": 5},
    lambda _: {"n": 2},
)
