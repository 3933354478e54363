"""Reads a generate request's body into `GenerateParams`, with vLLM's complaints about bad ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.sim import errors
from gateway.sim.connection import Request
from gateway.sim.text import Ids, encode, render_chat
from gateway.sim.vocabulary import VOCABULARY_SIZE
from gateway.sim.wire import JSON

Body = dict[str, Any]

COMPLETION_MAX_TOKENS = 16
"""vLLM's default ``max_tokens`` of /v1/completions (its OpenAPI schema)."""


@dataclass(frozen=True, slots=True)
class GenerateParams:
    """What one generate request asks for."""

    model: str
    adapter: str | None
    prompts: tuple[Ids, ...]
    max_tokens: int | None  # None: until the model stops by itself
    n: int = 1
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    temperature: float = 0.0
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    return_token_ids: bool = False
    logprobs: int | None = None  # how many alternatives to show; None: no logprobs
    echo: bool = False
    priority: int = 0
    stream_interval: int = 1
    ignore_eos: bool = False


def read_json(request: Request) -> Body:
    """Parse a JSON object body.

    Raises:
        ApiError: Not JSON, not an object, or another media type.
    """
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if not request.body:
        raise errors.invalid_field("missing", "body", "Field required", "None")
    if media_type != JSON:
        raise errors.wrong_media_type()
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        try:
            # The standard parser takes more (NaN, lone surrogates) and gives the position vLLM reports.
            body = json.loads(request.body)
        except json.JSONDecodeError as error:
            raise errors.invalid_json(error) from error
        except UnicodeDecodeError as error:
            raise errors.ApiError(400, "Bad Request", "There was an error parsing the body") from error
    if not isinstance(body, dict):
        raise errors.invalid_field(
            "model_attributes_type", "body", "Input should be a valid dictionary or object", str(body)[:60]
        )
    return body


def _integer(body: Body, name: str, default: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            message = "Input should be a valid integer, unable to parse string as an integer"
            raise errors.invalid_field("int_parsing", f"body.{name}", message, value[:60]) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise errors.invalid_field(
            "int_type", f"body.{name}", "Input should be a valid integer", str(value)[:60]
        )
    return int(value)


def _number(body: Body, name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.invalid_field(
            "float_type", f"body.{name}", "Input should be a valid number", str(value)[:60]
        )
    return float(value)


def _stop_strings(body: Body) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    strings = [stop] if isinstance(stop, str) else list(stop)
    return tuple(str(item) for item in strings if item)


def _common(body: Body, request: Request, max_model_len: int) -> dict[str, Any]:
    """Read and check what chat and completions share."""
    stream = bool(body.get("stream"))
    options = body.get("stream_options")
    if options is not None and not stream:
        raise errors.bad_value("Stream options can only be defined when `stream=True`.", "stream_options")
    options = options if isinstance(options, Mapping) else {}
    temperature = _number(body, "temperature", 0.0)
    if temperature < 0:
        message = f"temperature must be non-negative, got {temperature}."
        raise errors.bad_value(message, "temperature", temperature)
    n = _integer(body, "n", 1) or 1
    if n > 16384:  # noqa: PLR2004 - VLLM_MAX_N_SEQUENCES
        raise errors.bad_value(
            f"n must be at most 16384, got {n}. To increase this limit, "
            "set the VLLM_MAX_N_SEQUENCES environment variable.",
            None,
        )
    max_tokens = _integer(body, "max_completion_tokens", None)
    if max_tokens is None:
        max_tokens = _integer(body, "max_tokens", None)
    if max_tokens is not None and max_tokens < 1:
        raise errors.bad_value(f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens", max_tokens)
    if max_tokens is not None and max_tokens > max_model_len:
        message = f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}."
        raise errors.bad_value(f"{message} Please request fewer output tokens.", "max_tokens", max_tokens)
    header_priority = request.header("x-vllm-priority")
    priority = int(header_priority) if header_priority and header_priority.lstrip("-").isdigit() else None
    return {
        "max_tokens": max_tokens,
        "n": n,
        "stop": _stop_strings(body),
        "include_stop": bool(body.get("include_stop_str_in_output")),
        "temperature": temperature,
        "seed": _integer(body, "seed", None),
        "stream": stream,
        "include_usage": bool(options.get("include_usage")),
        "continuous_usage": bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        "return_token_ids": bool(body.get("return_token_ids")),
        "priority": priority if priority is not None else _integer(body, "priority", 0) or 0,
        "stream_interval": max(1, _integer(body, "stream_interval", 1) or 1),
        "ignore_eos": bool(body.get("ignore_eos")),
    }


def known_ids(ids: Ids) -> Ids:
    """Refuse ids that the tokenizer does not have."""
    if ids and (max(ids) >= VOCABULARY_SIZE or min(ids) < 0):
        wrong = next(token for token in ids if not 0 <= token < VOCABULARY_SIZE)
        raise errors.bad_value(f"Token id {wrong} is out of vocabulary", None)
    return ids


def _checked_prompt(ids: Ids, max_model_len: int) -> Ids:
    """Refuse prompts that vLLM would refuse."""
    if not ids:
        message = "Either prompt or prompt_embeds must be provided and non-empty."
        raise errors.bad_value(message, "prompt")
    known_ids(ids)
    if len(ids) >= max_model_len:
        shown = max_model_len + 1
        raise errors.bad_value(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
            f"at least {shown} input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt.",
            "input_tokens",
            shown,
        )
    return ids


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def completion_prompts(prompt: object) -> list[Ids]:
    """Tokenize a ``prompt``: a string, ids, or a list of either."""
    if isinstance(prompt, str):
        return [encode(prompt)]
    if _is_ids(prompt):
        return [list(prompt)]  # type: ignore[call-overload]
    if isinstance(prompt, list) and prompt and all(isinstance(item, str) or _is_ids(item) for item in prompt):
        return [encode(item) if isinstance(item, str) else list(item) for item in prompt]
    return [[]]


def completion_params(
    body: Body, request: Request, model: str, adapter: str | None, max_model_len: int
) -> GenerateParams:
    """Read a /v1/completions body."""
    common = _common(body, request, max_model_len)
    prompts = tuple(_checked_prompt(ids, max_model_len) for ids in completion_prompts(body.get("prompt")))
    if common["max_tokens"] is None:
        common["max_tokens"] = COMPLETION_MAX_TOKENS
    logprobs = _integer(body, "logprobs", None)
    return GenerateParams(model, adapter, prompts, logprobs=logprobs, echo=bool(body.get("echo")), **common)


def chat_params(
    body: Body, request: Request, model: str, adapter: str | None, max_model_len: int
) -> GenerateParams:
    """Read a /v1/chat/completions body.

    ``kv_transfer_params.prompt_token_ids`` replaces the rendered messages, as in vLLM 0.28 and later.
    """
    messages = body.get("messages")
    if messages is None:
        raise errors.missing_field("messages", body)
    if not isinstance(messages, list) or not all(isinstance(item, Mapping) for item in messages):
        raise errors.invalid_field(
            "list_type", "body.messages", "Input should be a valid list", str(messages)[:60]
        )
    common = _common(body, request, max_model_len)
    continue_final = bool(body.get("continue_final_message"))
    if continue_final and body.get("add_generation_prompt", True):
        message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise errors.bad_value(message, None)
    transfer = body.get("kv_transfer_params")
    given = transfer.get("prompt_token_ids") if isinstance(transfer, Mapping) else None
    ids = list(given) if _is_ids(given) else render_chat(messages, continue_final=continue_final)  # type: ignore[arg-type]
    logprobs = (_integer(body, "top_logprobs", 0) or 0) if body.get("logprobs") else None
    prompts = (_checked_prompt(ids, max_model_len),)
    return GenerateParams(model, adapter, prompts, logprobs=logprobs, echo=bool(body.get("echo")), **common)
