"""Reads a generate request's body into `GenerateParams`, with vLLM's complaints about bad ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.sim import errors
from gateway.sim.body import Body, chat_messages, integer, is_ids, number
from gateway.sim.connection import Request
from gateway.sim.text import Ids, Messages, content_text, encode, render_chat
from gateway.sim.vocabulary import VOCABULARY_SIZE

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
    echo_text: str = ""  # what echo puts before a chat answer
    min_tokens: int = 0
    priority: int = 0
    stream_interval: int = 1
    ignore_eos: bool = False


def _stop_strings(body: Body) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    strings = [stop] if isinstance(stop, str) else stop
    if not isinstance(strings, list) or not all(isinstance(item, str) for item in strings):
        raise errors.wrong_type("stop", "string or list of strings", stop)
    return tuple(item for item in strings if item)


def _common(body: Body, request: Request, max_model_len: int) -> dict[str, Any]:
    """Read and check what chat and completions share."""
    stream = bool(body.get("stream"))
    options = body.get("stream_options")
    if options is not None and not stream:
        raise errors.bad_value("Stream options can only be defined when `stream=True`.", "stream_options")
    options = options if isinstance(options, Mapping) else {}
    temperature = number(body, "temperature", 0.0)
    if temperature < 0:
        message = f"temperature must be non-negative, got {temperature}."
        raise errors.bad_value(message, "temperature", temperature)
    n = integer(body, "n", 1) or 1
    if n > 16384:  # noqa: PLR2004 - VLLM_MAX_N_SEQUENCES
        raise errors.bad_value(
            f"n must be at most 16384, got {n}. To increase this limit, "
            "set the VLLM_MAX_N_SEQUENCES environment variable.",
            None,
        )
    return {
        "max_tokens": _max_tokens(body, max_model_len),
        "n": n,
        "stop": _stop_strings(body),
        "include_stop": bool(body.get("include_stop_str_in_output")),
        "temperature": temperature,
        "seed": integer(body, "seed", None),
        "stream": stream,
        "include_usage": bool(options.get("include_usage")),
        "continuous_usage": bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        "return_token_ids": bool(body.get("return_token_ids")),
        "priority": _priority(body, request),
        "stream_interval": max(1, integer(body, "stream_interval", 1) or 1),
        "ignore_eos": bool(body.get("ignore_eos")),
        "min_tokens": integer(body, "min_tokens", 0) or 0,
        "echo": bool(body.get("echo")),
    }


def _max_tokens(body: Body, max_model_len: int) -> int | None:
    max_tokens = integer(body, "max_completion_tokens", None)
    if max_tokens is None:
        max_tokens = integer(body, "max_tokens", None)
    if max_tokens is not None and max_tokens < 1:
        raise errors.bad_value(f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens", max_tokens)
    if max_tokens is not None and max_tokens > max_model_len:
        message = f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}."
        raise errors.bad_value(f"{message} Please request fewer output tokens.", "max_tokens", max_tokens)
    return max_tokens


def _priority(body: Body, request: Request) -> int:
    """Return the header's priority if it is a number, else the body's (vLLM 0.28 and later)."""
    header = request.header("x-vllm-priority")
    if header and header.lstrip("-").isdigit():
        return int(header)
    return integer(body, "priority", 0) or 0


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


def completion_prompts(prompt: object) -> list[Ids]:
    """Tokenize a ``prompt``: a string, ids, or a list of either."""
    if isinstance(prompt, str):
        return [encode(prompt)]
    if is_ids(prompt):
        return [list(prompt)]
    if isinstance(prompt, list) and prompt and all(isinstance(item, str) or is_ids(item) for item in prompt):
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
    logprobs = integer(body, "logprobs", None)
    return GenerateParams(model, adapter, prompts, logprobs=logprobs, **common)


def chat_params(
    body: Body, request: Request, model: str, adapter: str | None, max_model_len: int
) -> GenerateParams:
    """Read a /v1/chat/completions body.

    ``kv_transfer_params.prompt_token_ids`` replaces the rendered messages, as in vLLM 0.28 and later.
    """
    messages = chat_messages(body)
    common = _common(body, request, max_model_len)
    continue_final = bool(body.get("continue_final_message"))
    if continue_final and body.get("add_generation_prompt", True):
        message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise errors.bad_value(message, None)
    ids = _continued_ids(body, messages) or render_chat(messages, continue_final=continue_final)
    logprobs = (integer(body, "top_logprobs", 0) or 0) if body.get("logprobs") else None
    prompts = (_checked_prompt(ids, max_model_len),)
    last = messages[-1] if messages else dict[str, Any]()
    echoed = content_text(last.get("content")) if common["echo"] and last.get("role") == "assistant" else ""
    return GenerateParams(model, adapter, prompts, logprobs=logprobs, echo_text=echoed, **common)


def _continued_ids(body: Body, messages: Messages) -> Ids | None:
    """Return the ids that replace the messages; none if a message has anything but text."""
    transfer = body.get("kv_transfer_params")
    given = transfer.get("prompt_token_ids") if isinstance(transfer, Mapping) else None
    parts = (part for message in messages for part in _parts(message.get("content")))
    if not is_ids(given) or any(part.get("type") != "text" for part in parts):
        return None
    return list(given)


def _parts(content: object) -> list[Mapping[str, Any]]:
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
