"""What a replica says arrives as the replica said it: the same bytes with and without the gateway.

Only one replica has the rare adapter, so both ways lead to the same server; that makes answers comparable.
"""

import re
from typing import Any

import aiohttp
import pytest

from tests.real.fleet import BASE, EMBEDDING, RARE_ADAPTER, SHARED_ADAPTER, Fleet
from tests.real.front import Gateway

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
EMOJI = "h\u00e9llo \U0001f600 \u20ac"
PARAMETERS = {"type": "object", "properties": {"now": {"type": "boolean"}}, "required": ["now"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "negative temperature": (CHAT, {"messages": MESSAGES, "temperature": -1}),
    "negative temperature, streamed": (CHAT, {"messages": MESSAGES, "temperature": -1, "stream": True}),
    "no messages": (CHAT, {}),
    "max_tokens is a word": (COMPLETIONS, {"prompt": "hello", "max_tokens": "many"}),
    "max_tokens is zero": (COMPLETIONS, {"prompt": "hello", "max_tokens": 0}),
    "more tokens than the model can": (COMPLETIONS, {"prompt": "hello", "max_tokens": 5000}),
    "prompt too long": (COMPLETIONS, {"prompt": [7] * 3000, "max_tokens": 1}),
    "token out of the vocabulary": (COMPLETIONS, {"prompt": [999_999], "max_tokens": 1}),
    "empty prompt": (COMPLETIONS, {"prompt": ""}),
    "stream options without a stream": (
        CHAT,
        {"messages": MESSAGES, "stream_options": {"include_usage": True}},
    ),
    "a chat model asked for embeddings": ("/v1/embeddings", {"input": "hello"}),
}

STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "completions": (COMPLETIONS, {"prompt": "hello"}),
    "completions with usage": (COMPLETIONS, {"prompt": "hello", "stream_options": {"include_usage": True}}),
    "completions with token ids": (COMPLETIONS, {"prompt": "hello", "return_token_ids": True}),
    "completions with logprobs": (COMPLETIONS, {"prompt": "hello", "logprobs": 2}),
    "chat": (CHAT, {"messages": MESSAGES}),
    "chat with usage in every event": (
        CHAT,
        {"messages": MESSAGES, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ),
    "chat with token ids": (CHAT, {"messages": MESSAGES, "return_token_ids": True}),
    "two chats in one": (CHAT, {"messages": MESSAGES, "n": 2, "temperature": 1, "seed": 7}),
    "two prompts in one": (COMPLETIONS, {"prompt": ["hello", "how are you"]}),
    "the prompt echoed": (COMPLETIONS, {"prompt": "hello", "echo": True}),
    "stop strings": (CHAT, {"messages": MESSAGES, "stop": ["no such text"]}),
    "characters of several tokens": (
        COMPLETIONS,
        {"prompt": "hello", "structured_outputs": {"choice": [EMOJI]}, "max_tokens": 40},
    ),
    "chat with characters of several tokens": (
        CHAT,
        {"messages": MESSAGES, "structured_outputs": {"choice": [EMOJI]}, "max_tokens": 40},
    ),
    "chat with logprobs": (CHAT, {"messages": MESSAGES, "logprobs": True, "top_logprobs": 2}),
    "chat with tools it does not call": (CHAT, {"messages": MESSAGES, "tools": TOOLS}),
    "chat with tools, with token ids": (
        CHAT,
        {"messages": MESSAGES, "tools": TOOLS, "return_token_ids": True},
    ),
    "chat that must call a tool": (
        CHAT,
        {"messages": MESSAGES, "tools": TOOLS, "tool_choice": "required", "max_tokens": 80},
    ),
    "messages": ("/v1/messages", {"messages": MESSAGES}),
}

PLAIN = {name: STREAMED[name] for name in ("completions", "chat")}
CHANGING = re.compile(rb'"created(?:_at)?":\d+|"id":"chatcmpl-tool-[0-9a-f]+"')
ROUNDS = 12

Answer = tuple[int, str, bytes]


async def ask(http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Answer:
    """Status, content type and body, without the times and ids that differ from call to call."""
    async with http.post(url, json=body, headers={"x-request-id": "the-same"}) as response:
        return response.status, response.headers["content-type"], CHANGING.sub(b"", await response.read())


async def assert_same(
    http: aiohttp.ClientSession, path: str, body: dict[str, Any], direct: list[str], through: list[Gateway]
) -> None:
    """Each gateway must pass on, to the byte, what one of the replicas says when it is asked directly.

    A busy vLLM puts several tokens into one event now and then, so it takes a few rounds to see the same.
    """
    expected: set[Answer] = set()
    seen: dict[Gateway, set[Answer]] = {gateway: set() for gateway in through}
    body = {"max_tokens": 8, "temperature": 0, "stream": True, **body}
    for _ in range(ROUNDS):
        expected |= {await ask(http, server + path, body) for server in direct}
        for gateway, answers in seen.items():
            answers.add(await ask(http, gateway.url + path, body))
        if all(answers & expected for answers in seen.values()):
            break
    assert {status for status, _, _ in expected} == {200}
    for answers in seen.values():
        assert answers & expected


@pytest.mark.parametrize(("path", "body"), REFUSED.values(), ids=REFUSED)
async def test_an_error_of_the_replica_arrives_unchanged(
    path: str, body: dict[str, Any], fleet: Fleet, gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    body = {"model": RARE_ADAPTER, **body}
    expected = await ask(http, fleet.with_both.url + path, body)
    assert 400 <= expected[0] < 500
    assert await ask(http, gateway.url + path, body) == expected


@pytest.mark.parametrize(("path", "body"), STREAMED.values(), ids=STREAMED)
async def test_a_stream_arrives_unchanged_whether_it_could_be_resumed_or_not(
    path: str,
    body: dict[str, Any],
    fleet: Fleet,
    gateway: Gateway,
    gateway_without_resume: Gateway,
    http: aiohttp.ClientSession,
) -> None:
    body = {"model": RARE_ADAPTER, **body}
    await assert_same(http, path, body, [fleet.with_both.url], [gateway, gateway_without_resume])


@pytest.mark.parametrize("model", [BASE, SHARED_ADAPTER])
@pytest.mark.parametrize(("path", "body"), PLAIN.values(), ids=PLAIN)
async def test_a_stream_of_a_model_that_both_replicas_have_arrives_unchanged(
    path: str,
    body: dict[str, Any],
    model: str,
    fleet: Fleet,
    gateway: Gateway,
    gateway_without_resume: Gateway,
    http: aiohttp.ClientSession,
) -> None:
    direct = [fleet.with_both.url, fleet.with_one.url]
    await assert_same(http, path, {"model": model, **body}, direct, [gateway, gateway_without_resume])


async def test_the_request_id_reaches_the_replica_and_comes_back(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    body = {"model": BASE, "prompt": "hello", "max_tokens": 1}
    async with http.post(gateway.url + COMPLETIONS, json=body, headers={"x-request-id": "mine"}) as response:
        assert (await response.json())["id"].startswith("cmpl-mine")
        assert response.headers["x-request-id"] == "mine"


async def test_text_becomes_tokens_and_tokens_become_text(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    text = "The replica with the fewest outstanding requests"
    async with http.post(f"{gateway.url}/tokenize", json={"model": BASE, "prompt": text}) as response:
        tokens = (await response.json())["tokens"]
    async with http.post(f"{gateway.url}/detokenize", json={"model": BASE, "tokens": tokens}) as response:
        assert (await response.json())["prompt"] == text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"query": "one", "documents": ["two three", "one"]}),
        ("/rerank", {"query": "one", "documents": ["two three", "one"]}),
        ("/v1/score", {"text_1": "one", "text_2": ["two three", "one"]}),
        ("/pooling", {"input": "one"}),
    ],
)
async def test_the_other_routes_of_an_embedding_model_are_served(
    path: str, body: dict[str, Any], gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    async with http.post(gateway.url + path, json={"model": EMBEDDING, **body}) as response:
        assert response.status == 200, await response.text()


@pytest.mark.parametrize(
    "path",
    ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/invocations", "/metrics", "/docs"],
)
async def test_what_belongs_to_operators_is_not_for_clients(
    path: str, gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    async with http.post(
        gateway.url + path, json={"model": BASE, "lora_name": "x", "lora_path": "y"}
    ) as response:
        assert response.status in {404, 405}
