"""The simulated replica against what was recorded from vLLM 0.32: heads, bodies, events, errors."""

import re
from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, expected_text
from tests.integration import sim_client
from tests.integration.sim_client import Client, ask

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    options = SimOptions(
        "tiny", served_names=("tiny", "tiny-2"), adapters=(("lora-a", "loras/lora-a"),), max_model_len=2048,
        engine=FAST,
    )  # fmt: skip
    async with SimulatedReplica(options) as replica:
        yield replica.port


def normal(head: bytes) -> str:
    """A head with its date taken out."""
    return re.sub(r"date: [^\r]+ GMT", "date: D", head.decode())


async def test_health_is_200_and_empty(port: int) -> None:
    reply = await ask(port, "GET", "/health")
    expected = "HTTP/1.1 200 OK\r\ndate: D\r\nserver: uvicorn\r\ncontent-length: 0\r\nvary: Origin"
    assert (normal(reply.head), reply.body) == (expected, b"")


async def test_the_version_is_a_real_one_s(port: int) -> None:
    reply = await ask(port, "GET", "/version")
    assert normal(reply.head) == (
        "HTTP/1.1 200 OK\r\ndate: D\r\nserver: uvicorn\r\ncontent-length: 20\r\n"
        "content-type: application/json\r\nvary: Origin"
    )
    assert reply.body == b'{"version":"0.32.0"}'


async def test_head_on_a_get_route_is_405(port: int) -> None:
    async with await Client.open(port) as client:
        client.send(sim_client.encode("HEAD", "/health"))
        head = await client.head()
    assert normal(head) == (
        "HTTP/1.1 405 Method Not Allowed\r\ndate: D\r\nserver: uvicorn\r\nallow: GET\r\n"
        "content-length: 31\r\ncontent-type: application/json\r\nvary: Origin"
    )


@pytest.mark.parametrize("path", ["/nope", "/v1/nope", "/v1/models/tiny", "/v1/embeddings"])
async def test_paths_that_are_not_there_get_the_router_s_404(port: int, path: str) -> None:
    reply = await ask(port, "POST", path, {})
    assert (reply.status, reply.body) == (404, b'{"detail":"Not Found"}')


async def test_models_lists_served_names_and_adapters(port: int) -> None:
    data = (await ask(port, "GET", "/v1/models")).json["data"]
    summary = [(card["id"], card["root"], card["parent"], card["max_model_len"]) for card in data]
    assert summary == [
        ("tiny", "tiny", None, 2048),
        ("tiny-2", "tiny", None, 2048),
        ("lora-a", "loras/lora-a", "tiny", None),
    ]
    keys = ["id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"]
    assert list(data[0]) == keys


async def test_a_chat_stream_has_the_recorded_bytes(port: int) -> None:
    body = {"messages": CHAT, "stream": True, "max_tokens": 2, "temperature": 0, "request_id": "R"}
    body["stream_options"] = {"include_usage": True}
    async with await Client.open(port) as client:
        reply = await client.ask("POST", "/v1/chat/completions", body)
    assert normal(reply.head) == (
        "HTTP/1.1 200 OK\r\ndate: D\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        "vary: Origin\r\ntransfer-encoding: chunked"
    )
    created = reply.events[0]["created"]
    first, second = (f" {word}".encode() for word in expected_text("tiny", None, CHAT, 2).split(" "))
    top = b'{"id":"chatcmpl-R","object":"chat.completion.chunk","created":%d,"model":"tiny",' % created
    assert reply.chunks[:3] == [
        b"data: " + top + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},'
        b'"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}\n\n',
        b"data: " + top + b'"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null,'
        b'"finish_reason":null,"token_ids":null}]}\n\n' % first.strip(),
        b"data: " + top + b'"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null,'
        b'"finish_reason":"length","stop_reason":null,"token_ids":null}]}\n\n' % second,
    ]
    usage = rb'"usage":\{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2\}'
    pattern = re.escape(b"data: " + top) + rb'"choices":\[\],' + usage
    assert re.fullmatch(pattern + rb',"system_fingerprint":"vllm-0.32.0-[0-9a-f]{8}"\}\n\n', reply.chunks[3])
    assert reply.chunks[4:] == [b"data: [DONE]\n\n"]


async def test_a_completion_stream_has_the_recorded_bytes(port: int) -> None:
    body = {"prompt": "hi", "stream": True, "max_tokens": 2, "request_id": "R"}
    reply = await ask(port, "POST", "/v1/completions", body)
    top = b'data: {"id":"cmpl-R","object":"text_completion","created":%d,' % reply.events[0]["created"]
    word = expected_text("tiny", None, "hi", 1).encode()
    assert reply.chunks[0] == (
        top + b'"model":"tiny","choices":[{"index":0,"text":"%b","logprobs":null,"finish_reason":null,'
        b'"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}\n\n' % word
    )
    assert list(reply.events[1]) == ["id", "object", "created", "model", "choices", "system_fingerprint"]
    assert reply.events[2] == "[DONE]"


async def test_token_ids_stand_where_vllm_puts_them(port: int) -> None:
    body = {"stream": True, "max_tokens": 3, "return_token_ids": True}
    chat = await ask(port, "POST", "/v1/chat/completions", {**body, "messages": CHAT})
    assert chat.events[0]["prompt_token_ids"][-1] == 258, "the opened answer"
    assert "token_ids" not in chat.events[0]["choices"][0]
    assert len(chat.token_ids) == 3
    completion = await ask(port, "POST", "/v1/completions", {**body, "prompt": "hi"})
    choices = [event["choices"][0] for event in completion.events[:-1]]
    assert [choice["prompt_token_ids"] for choice in choices] == [[104, 105], None, None]
    assert [len(choice["token_ids"]) for choice in choices] == [1, 1, 1]


async def test_continuous_usage_is_on_every_event(port: int) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"messages": CHAT, "stream": True, "max_tokens": 2, "stream_options": options}
    reply = await ask(port, "POST", "/v1/chat/completions", body)
    counts = [event["usage"]["completion_tokens"] for event in reply.events[:-1]]
    assert counts == [0, 1, 2, 2]


async def test_bodies_have_every_key_of_the_recorded_ones(port: int) -> None:
    chat = await ask(
        port, "POST", "/v1/chat/completions", {"messages": CHAT, "max_tokens": 1}, x_request_id="my-id-1"
    )
    word = expected_text("tiny", None, CHAT, 1)
    created, fingerprint = chat.json["created"], chat.json["system_fingerprint"]
    assert chat.body.decode() == (
        f'{{"id":"chatcmpl-my-id-1","object":"chat.completion","created":{created},"model":"tiny","choices":'
        f'[{{"index":0,"message":{{"role":"assistant","content":"{word}","refusal":null,"annotations":null,'
        '"audio":null,"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"length",'
        '"stop_reason":null,"token_ids":null,"routed_experts":null}],"service_tier":null,'
        f'"system_fingerprint":"{fingerprint}","usage":{{"prompt_tokens":5,"total_tokens":6,'
        '"completion_tokens":1,"prompt_tokens_details":null,"completion_tokens_details":null},'
        '"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,'
        '"ec_transfer_params":null,"metrics":null}'
    )
    completion = await ask(
        port, "POST", "/v1/completions", {"prompt": "hi", "max_tokens": 1, "request_id": "b"}
    )
    word = expected_text("tiny", None, "hi", 1)
    created = completion.json["created"]
    assert completion.body.decode() == (
        f'{{"id":"cmpl-b","object":"text_completion","created":{created},"model":"tiny","choices":'
        f'[{{"index":0,"text":"{word}","logprobs":null,"finish_reason":"length","stop_reason":null,'
        '"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}],'
        f'"service_tier":null,"system_fingerprint":"{fingerprint}","usage":{{"prompt_tokens":2,'
        '"total_tokens":3,"completion_tokens":1,"prompt_tokens_details":null,'
        '"completion_tokens_details":null},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}'
    )
