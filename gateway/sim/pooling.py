"""Handlers of an embedding model's routes. Vectors and scores are made from the text alone."""

import base64
import random
import struct
import time
from collections.abc import Callable
from math import sqrt
from typing import Any
from zlib import crc32

import orjson

from gateway.sim import errors, params
from gateway.sim.body import Body, chat_messages, integer, read_json
from gateway.sim.engine import EngineRequest
from gateway.sim.routes import Call
from gateway.sim.state import ReplicaState
from gateway.sim.text import Ids, content_text, encode, render_chat
from gateway.sim.wire import Response

DIMENSIONS = 16
_LABELS = 2


class PooledAnswer(EngineRequest):
    """One pooling request in the engine: answered when its prompt has been computed."""

    __slots__ = ("_call", "_over", "_response", "_state")

    def __init__(self, call: Call, prompt_tokens: int, response: Response) -> None:
        super().__init__(prompt_tokens)
        self._call = call
        self._state: ReplicaState = call.state
        self._response = response
        self._over = False

    def enter_engine(self) -> None:
        if not self._over:
            self._state.clock.add(self)

    def advance(self) -> None:
        """Answer, or break as the faults say: there are no tokens here, so any "after k" strikes."""
        trip = self._call.faults.token_trip()
        fault = trip[1] if trip else ""
        if fault == "hang_after_tokens":
            self._state.hang()
            return
        if fault == "stall_after_tokens":
            self.paused = True
            return
        self._leave()
        if fault == "reset_after_tokens":
            self._call.connection.reset()
        elif fault == "error_event_after_tokens":
            self._call.respond(errors.engine_dead().response())
        elif fault:
            self._call.connection.close()
        else:
            self._call.respond(self._response)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._state.clock.resume()

    def disconnected(self) -> None:
        if not self._over:
            self._leave()
            self._state.aborted += 1

    def _leave(self) -> None:
        self._over = True
        self._state.clock.remove(self)


def vector(ids: Ids) -> list[float]:
    """Return the unit vector of some ids; the same ids have the same vector everywhere."""
    rng = random.Random(crc32(struct.pack(f"<{len(ids)}H", *ids)))  # noqa: S311 - reproducible on purpose
    values = [rng.uniform(-1, 1) for _ in range(DIMENSIONS)]
    norm = sqrt(sum(value * value for value in values))
    return [value / norm for value in values]


def _similarity(one: Ids, other: Ids) -> float:
    return sum(a * b for a, b in zip(vector(one), vector(other), strict=True))


def _usage(tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0,
        "prompt_tokens_details": None, "completion_tokens_details": None,
    }  # fmt: skip


def _begin(call: Call) -> tuple[Body, str]:
    body = read_json(call.request)
    model, adapter = call.state.resolve(body.get("model"))
    call.state.count(call.entry, model, adapter)
    return body, model


def _finish(call: Call, tokens: int, payload: dict[str, Any]) -> None:
    answer = PooledAnswer(call, max(1, tokens), Response(200, orjson.dumps(payload)))
    call.connection.exchange = answer
    if call.faults.first_byte_delay_s:
        call.state.loop.call_later(call.faults.first_byte_delay_s, answer.enter_engine)
    else:
        answer.enter_engine()


def _inputs(body: Body) -> list[Ids]:
    if "input" in body:
        prompts = params.completion_prompts(body["input"])
    elif "messages" in body:
        prompts = [render_chat(chat_messages(body))]
    else:
        raise errors.missing_field("input", body)
    return [params.known_ids(ids) for ids in prompts]


def _head(prefix: str, model: str) -> dict[str, Any]:
    identity = f"{prefix}-{random.getrandbits(64):016x}"
    return {"id": identity, "object": "list", "created": int(time.time()), "model": model}


def embeddings(call: Call) -> None:
    """POST /v1/embeddings, as numbers or in base64."""
    body, model = _begin(call)
    inputs = _inputs(body)

    def encoded(ids: Ids) -> list[float] | str:
        values = vector(ids)
        if body.get("encoding_format") == "base64":
            return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        return values

    _per_input(call, model, "embd", inputs, lambda ids: {"object": "embedding", "embedding": encoded(ids)})


def pool(call: Call) -> None:
    """POST /pooling."""
    body, model = _begin(call)
    inputs = _inputs(body)
    _per_input(call, model, "pooling", inputs, lambda ids: {"object": "pooling", "data": vector(ids)})


def classify(call: Call) -> None:
    """POST /classify, with two classes."""
    body, model = _begin(call)
    inputs = _inputs(body)

    def entry(ids: Ids) -> dict[str, Any]:
        first = (vector(ids)[0] + 1) / 2
        label = f"LABEL_{int(first < 1 - first)}"
        return {"label": label, "probs": [first, 1 - first], "num_classes": _LABELS}

    _per_input(call, model, "classify", inputs, entry)


def _per_input(
    call: Call, model: str, prefix: str, inputs: list[Ids], entry: Callable[[Ids], dict[str, Any]]
) -> None:
    tokens = sum(len(ids) for ids in inputs)
    data = [{"index": index, **entry(ids)} for index, ids in enumerate(inputs)]
    _finish(call, tokens, {**_head(prefix, model), "data": data, "usage": _usage(tokens)})


def _texts(body: Body, *names: str) -> list[str]:
    value = next((body[name] for name in names if name in body), None)
    if value is None or value == []:
        raise errors.missing_field(names[0], body)
    return [content_text(item) for item in value] if isinstance(value, list) else [content_text(value)]


def score(call: Call) -> None:
    """POST /score: one text against one or several."""
    body, model = _begin(call)
    ones = [encode(text) for text in _texts(body, "queries", "text_1")]
    others = [encode(text) for text in _texts(body, "documents", "text_2")]
    pairs = [(ones[i % len(ones)], other) for i, other in enumerate(others)]
    tokens = sum(len(one) + len(other) for one, other in pairs)
    data = [
        {"index": index, "object": "score", "score": _similarity(*pair)} for index, pair in enumerate(pairs)
    ]
    _finish(call, tokens, {**_head("score", model), "data": data, "usage": _usage(tokens)})


def rerank(call: Call) -> None:
    """POST /rerank: documents by their nearness to the query, best first."""
    body, model = _begin(call)
    query = encode(_texts(body, "query")[0])
    documents = _texts(body, "documents")
    scored = [(_similarity(query, encode(text)), index, text) for index, text in enumerate(documents)]
    results = [
        {"index": index, "document": {"text": text, "multi_modal": None}, "relevance_score": relevance}
        for relevance, index, text in sorted(scored, key=lambda entry: -entry[0])
    ]
    tokens = len(query) * len(documents) + sum(len(encode(text)) for text in documents)
    payload = {
        "id": f"score-{random.getrandbits(64):016x}", "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": results[: integer(body, "top_n", 0) or None],
    }  # fmt: skip
    _finish(call, tokens, payload)
