"""The simulated replica's errors, word for word as recorded from vLLM 0.32."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica
from tests.integration.sim_client import Client, ask

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)
CHAT = [{"role": "user", "content": "hi"}]
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
