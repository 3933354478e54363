"""The simulated replica against what was recorded from vLLM 0.32: heads, bodies, events, errors."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, encode, expected_text
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


VALIDATION = "1 validation error:\n  {'type': '%s', 'loc': '%s', 'msg': '%s', 'input': '%s'%s}"
LONG = (
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input "
    "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
    "prompt. (parameter=input_tokens, value=2049)"
)
BAD_JSON = VALIDATION % (
    "json_invalid", "body.9", "JSON decode error", "<dict of 0 items>",
    ", 'ctx': {'error': 'Expecting value'}",
)  # fmt: skip
NO_INTEGER = "Input should be a valid integer, unable to parse string as an integer"
UNKNOWN = "The model `nope` does not exist. Valid aliases: tiny, tiny-2."
TOO_MANY = (
    "max_tokens=5000 cannot be greater than max_model_len=2048. Please request fewer output tokens. "
    "(parameter=max_tokens, value=5000)"
)
NO_STREAM = "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
EMPTY = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
CHOICES = (
    "n must be at most 16384, got 100000. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment "
    "variable."
)

# body, message, type, param; sent to /v1/completions
ERRORS: list[tuple[object, str, str, str | None]] = [
    ({"model": "nope", "prompt": "x"}, UNKNOWN, "NotFoundError", "model"),
    ({"model": "nope", "prompt": "x", "stream": True}, UNKNOWN, "NotFoundError", "model"),
    (b'{"model":}', BAD_JSON, "Bad Request", "body.9"),
    (b"", VALIDATION % ("missing", "body", "Field required", "None", ""), "Bad Request", "body"),
    (
        {"prompt": "x", "max_tokens": "x"},
        VALIDATION % ("int_parsing", "body.max_tokens", NO_INTEGER, "x", ""),
        "Bad Request",
        "body.max_tokens",
    ),
    (
        {"prompt": "x", "temperature": -1, "stream": True},
        "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)",
        "BadRequestError",
        "temperature",
    ),
    ({"prompt": "." * 4000}, LONG, "BadRequestError", "input_tokens"),
    ({"prompt": "x", "max_tokens": 5000}, TOO_MANY, "BadRequestError", "max_tokens"),
    (
        {"prompt": "x", "max_tokens": 0},
        "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
        "BadRequestError",
        "max_tokens",
    ),
    ({"prompt": "x", "stream_options": {}}, NO_STREAM, "BadRequestError", "stream_options"),
    ({"prompt": [999999]}, "Token id 999999 is out of vocabulary", "BadRequestError", None),
    ({"prompt": ""}, EMPTY, "BadRequestError", "prompt"),
    ({"prompt": "x", "n": 100000}, CHOICES, "BadRequestError", None),
]


@pytest.mark.parametrize(("body", "message", "kind", "param"), ERRORS)
async def test_errors_are_word_for_word_as_recorded(
    port: int, body: object, message: str, kind: str, param: str | None
) -> None:
    reply = await ask(port, "POST", "/v1/completions", body)
    code = 404 if kind == "NotFoundError" else 400
    error = {"message": message, "type": kind, "param": param, "code": code}
    assert reply.status == code
    assert reply.body.decode() == json.dumps({"error": error}, separators=(",", ":"))


async def test_a_chat_without_messages_is_refused_as_recorded(port: int) -> None:
    reply = await ask(port, "POST", "/v1/chat/completions", {"model": "tiny"})
    missing = VALIDATION % ("missing", "body.messages", "Field required", "<dict of 1 items>", "")
    assert reply.json["error"] == {
        "message": missing,
        "type": "Bad Request",
        "param": "body.messages",
        "code": 400,
    }


async def test_messages_has_errors_of_its_own_shape(port: int) -> None:
    reply = await ask(port, "POST", "/v1/messages", {"model": "nope", "max_tokens": 1, "messages": CHAT})
    assert reply.status == 404
    assert reply.json == {"type": "error", "error": {"type": "NotFoundError", "message": UNKNOWN}}


async def test_another_media_type_is_refused(port: int) -> None:
    reply = await ask(port, "POST", "/v1/completions", {"prompt": "x"}, content_type="text/plain")
    assert reply.body == (
        b'{"error":{"message":"1 validation error:\\n  Unsupported Media Type: Only \'application/json\' is '
        b'allowed","type":"Bad Request","param":null,"code":400}}'
    )


async def test_what_is_no_http_gets_uvicorn_s_words_and_the_end(port: int) -> None:
    async with await Client.open(port) as client:
        client.send(b"this is not http\r\n\r\n")
        reply = await client.reply()
        assert normal(reply.head) == (
            "HTTP/1.1 400 Bad Request\r\ndate: D\r\nserver: uvicorn\r\n"
            "content-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\nconnection: close"
        )
        assert reply.body == b"Invalid HTTP request received."
        assert await client.rest() == b""


async def test_without_a_model_the_base_model_answers(port: int) -> None:
    for body in ({"prompt": "x"}, {"prompt": "x", "model": ""}):
        assert (await ask(port, "POST", "/v1/completions", body)).json["model"] == "tiny"


async def test_every_served_name_and_adapter_is_answered_under_its_own_name(port: int) -> None:
    texts = {}
    for name in ("tiny", "tiny-2", "lora-a"):
        reply = await ask(port, "POST", "/v1/completions", {"prompt": "x", "model": name})
        assert reply.json["model"] == name
        texts[name] = reply.text
    assert texts["tiny"] == texts["tiny-2"] == expected_text("tiny", None, "x", 16)
    assert texts["lora-a"] == expected_text("tiny", "lora-a", "x", 16)


async def test_a_chat_without_max_tokens_stops_by_itself(port: int) -> None:
    reply = await ask(port, "POST", "/v1/chat/completions", {"messages": CHAT})
    assert reply.text == expected_text("tiny", None, CHAT, 32)
    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.json["usage"]["completion_tokens"] == 33, "the end token counts"


async def test_stop_strings_end_the_text_before_them(port: int) -> None:
    words = expected_text("tiny", None, "x", 6).split(" ")
    body = {"prompt": "x", "stop": [words[5]], "stream": True, "return_token_ids": True, "max_tokens": 9}
    reply = await ask(port, "POST", "/v1/completions", body)
    assert reply.text == " ".join(words[:5]) + " "
    assert reply.finish_reason == "stop"
    assert reply.events[-2]["choices"][0]["stop_reason"] == words[5]
    assert len(reply.token_ids) == 5, "the ids do not lag"


async def test_several_prompts_and_several_choices_each_have_their_index(port: int) -> None:
    body = {"prompt": ["a", "b"], "n": 2, "max_tokens": 2, "temperature": 1}
    reply = await ask(port, "POST", "/v1/completions", body)
    assert [choice["index"] for choice in reply.json["choices"]] == [0, 1, 2, 3]
    assert reply.json["usage"] | {} == {
        "prompt_tokens": 2, "total_tokens": 10, "completion_tokens": 8, "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }  # fmt: skip
    reply = await ask(
        port, "POST", "/v1/chat/completions", {"messages": CHAT, "n": 2, "max_tokens": 1, "stream": True}
    )
    roles = [event["choices"][0]["index"] for event in reply.events[:2]]
    assert roles == [0, 1]


async def test_stream_interval_merges_tokens_into_one_event(port: int) -> None:
    body = {"prompt": "x", "max_tokens": 7, "stream": True, "return_token_ids": True, "stream_interval": 3}
    reply = await ask(port, "POST", "/v1/completions", body)
    sizes = [len(event["choices"][0]["token_ids"]) for event in reply.events[:-1]]
    assert sizes == [1, 3, 3]
    assert reply.text == expected_text("tiny", None, "x", 7)


async def test_echo_repeats_the_prompt(port: int) -> None:
    for stream in (False, True):
        body = {"prompt": "hi", "max_tokens": 2, "echo": True, "stream": stream}
        reply = await ask(port, "POST", "/v1/completions", body)
        assert reply.text == "hi" + expected_text("tiny", None, "hi", 2)


async def test_logprobs_have_both_shapes(port: int) -> None:
    body = {"prompt": "hi", "max_tokens": 2, "logprobs": 2, "stream": True}
    events = (await ask(port, "POST", "/v1/completions", body)).events
    offsets = [event["choices"][0]["logprobs"]["text_offset"] for event in events[:-1]]
    assert offsets == [[0], [len(expected_text("tiny", None, "hi", 1))]]
    chat = {"messages": CHAT, "max_tokens": 1, "logprobs": True, "top_logprobs": 2}
    logprobs = (await ask(port, "POST", "/v1/chat/completions", chat)).json["choices"][0]["logprobs"]
    assert [len(entry["top_logprobs"]) for entry in logprobs["content"]] == [2]


async def test_a_chat_goes_on_from_token_ids_as_if_it_had_never_been_cut(port: int) -> None:
    body = {"messages": CHAT, "stream": True, "max_tokens": 20, "return_token_ids": True, "temperature": 0}
    whole = await ask(port, "POST", "/v1/chat/completions", body)
    prompt, said = whole.events[0]["prompt_token_ids"], whole.token_ids[:8]
    rest = await ask(
        port,
        "POST",
        "/v1/chat/completions",
        {**body, "max_tokens": 12, "kv_transfer_params": {"prompt_token_ids": [*prompt, *said]}},
    )
    assert rest.events[0]["prompt_token_ids"] == [*prompt, *said]
    assert rest.token_ids == whole.token_ids[8:]
    assert whole.text.endswith(rest.text)


async def test_a_chat_without_a_limit_goes_on_to_the_same_end(port: int) -> None:
    body = {"messages": CHAT, "stream": True, "return_token_ids": True}
    whole = await ask(port, "POST", "/v1/chat/completions", body)
    ids = [*whole.events[0]["prompt_token_ids"], *whole.token_ids[:10]]
    rest = await ask(
        port, "POST", "/v1/chat/completions", {**body, "kv_transfer_params": {"prompt_token_ids": ids}}
    )
    assert rest.token_ids == whole.token_ids[10:]
    assert rest.finish_reason == "stop"


async def test_continue_final_message_goes_on_in_the_last_message(port: int) -> None:
    said = expected_text("tiny", None, CHAT, 5)
    messages = [*CHAT, {"role": "assistant", "content": said}]
    body = {
        "messages": messages,
        "max_tokens": 5,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    reply = await ask(port, "POST", "/v1/chat/completions", body)
    assert said + reply.text == expected_text("tiny", None, CHAT, 10)
    body["add_generation_prompt"] = True
    assert (await ask(port, "POST", "/v1/chat/completions", body)).status == 400


async def test_a_chat_can_echo_the_message_it_goes_on_in(port: int) -> None:
    messages = [*CHAT, {"role": "assistant", "content": "The"}]
    body = {"messages": messages, "max_tokens": 2, "add_generation_prompt": False, "echo": True}
    for stream in (False, True):
        asked = {**body, "continue_final_message": True, "stream": stream}
        text = (await ask(port, "POST", "/v1/chat/completions", asked)).text
        assert text.startswith("The ")


async def test_min_tokens_puts_the_end_off(port: int) -> None:
    reply = await ask(port, "POST", "/v1/chat/completions", {"messages": CHAT, "min_tokens": 40})
    assert reply.text == expected_text("tiny", None, CHAT, 40)


async def test_token_ids_are_ignored_where_messages_have_more_than_text(port: int) -> None:
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 3}
    body["kv_transfer_params"] = {"prompt_token_ids": [1, 2, 3]}
    assert (await ask(port, "POST", "/v1/chat/completions", body)).text == expected_text(
        "tiny", None, CHAT, 3
    )


async def test_tokenize_and_detokenize_are_each_other_s_inverse(port: int) -> None:
    reply = await ask(port, "POST", "/tokenize", {"prompt": "hi the", "return_token_strs": True})
    assert reply.json == {
        "count": 3,
        "max_model_len": 2048,
        "tokens": encode("hi the"),
        "token_strs": ["h", "i", " the"],
    }
    back = await ask(port, "POST", "/detokenize", {"tokens": reply.json["tokens"]})
    assert back.json == {"prompt": "hi the"}
    chat = await ask(port, "POST", "/tokenize", {"messages": CHAT})
    assert chat.json["count"] == 5
