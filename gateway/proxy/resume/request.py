"""The request side of resuming: asking for token ids, and asking another replica to go on.

Which continuations are right was measured on real vLLM 0.32 with greedy decoding: from token ids, completions
and chat went on exactly in every cut tried. What was seen to go on differently, or can't, is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.proxy.resume.rejoin import Rejoin, text_length
from gateway.proxy.resume.tape import Tape

Document = Mapping[str, Any]

_FLAG = b'"return_token_ids":true'

_LIMITS = ("max_tokens", "max_completion_tokens")
_COMPLETION_TOKENS = 16
"""What vLLM makes of a completion without `max_tokens` (entrypoints/openai/completion/protocol.py)."""

Refusal = str
"""Why a stream is not continued: an `outcome` label of `resumed_streams_total`."""


def with_token_ids(body: bytes) -> bytes:
    """The same request, asking for token ids. The last of duplicate keys counts, so the flag goes last."""
    end = body.rstrip()
    if not end.endswith(b"}") or end.endswith(b"\0}"):  # no UTF-8
        return body
    end = end[:-1].rstrip()
    return b"".join((end, b"" if end.endswith(b"{") else b",", _FLAG, b"}"))


def continuation(path: str, body: bytes, tape: Tape) -> bytes | Refusal:
    """The request that makes another replica go on where `tape` ends, or why there is none.

    `body` is the request as the first replica got it. The tape is rewound to its safe point, and expects the
    events of a continuation from then on.
    """
    refusal = _tape_refusal(tape)
    if refusal is not None:
        return refusal
    document = _document(body)
    if document is None:
        return "unsupported_request"
    refusal = next((label for label, applies in _REFUSALS.items() if applies(document)), None)
    if refusal is not None:
        return refusal
    if path == "/v1/completions":
        document.setdefault("max_tokens", _COMPLETION_TOKENS)
    tape.rewind()
    if not _shorten(document, tape.safe):
        return "nothing_left"
    prompt = tape.prompt + b"," + tape.tokens if tape.tokens else tape.prompt
    ids = orjson.Fragment(b"[" + prompt + b"]")
    if path == "/v1/completions":
        document["prompt"] = ids
    else:
        # vLLM takes these ids for the rendered prompt, with or without a KV connector (0.28 and later).
        document["kv_transfer_params"] = {"prompt_token_ids": ids}
    offset = text_length(tape.safe_event) if tape.safe_event else 0
    tape.rejoin = Rejoin(tape.prefix, prompt, tape.safe, offset)
    return orjson.dumps(document)


def closing_events(body: bytes, tape: Tape) -> bytes:
    """What a stream still lacks whose last token was sent: usage where asked for, and the end."""
    done = b"data: [DONE]\n\n"
    options = orjson.loads(body).get("stream_options") or {}
    if not options.get("include_usage") or tape.usage_sent:
        return done
    asked = tape.prompt.count(b",") + 1
    usage = {"prompt_tokens": asked, "total_tokens": asked + tape.seen, "completion_tokens": tape.seen}
    return b"data: " + tape.prefix + b'"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n" + done


def _document(body: bytes) -> dict[str, Any] | None:
    """The request, unless it holds what only vLLM's more lenient reading makes sense of."""
    try:
        document: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_plain = all(isinstance(document.get(key), int | None) for key in (*_LIMITS, "min_tokens"))
    return document if is_plain else None


def _shorten(document: dict[str, Any], made: int) -> bool:
    """Take what was made off the limits. False when that leaves nothing."""
    for limit in _LIMITS:
        if document.get(limit) is not None:
            document[limit] -= made
            if document[limit] < 1:
                return False
    if document.get("min_tokens"):
        document["min_tokens"] = max(0, document["min_tokens"] - made)
    document.pop("truncate_prompt_tokens", None)  # the ids are what it left
    return True


def _tape_refusal(tape: Tape) -> Refusal | None:
    if tape.overflown:
        return "buffer_full"
    if not tape.prompt or not tape.prefix or tape.withheld:
        return "no_token_ids"
    if tape.stuck:
        return "partial_character"
    return "tool_call" if tape.calls_tool else None


_STRUCTURED = (
    *("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    *("structural_tag", "use_beam_search", "logits_processors", "bad_words"),
)


def _is_structured(document: Document) -> bool:
    response_format = document.get("response_format")
    formatted = isinstance(response_format, Mapping) and response_format.get("type") != "text"
    return formatted or any(document.get(key) for key in _STRUCTURED)


def _has_several_choices(document: Document) -> bool:
    prompt = document.get("prompt")
    is_batch = isinstance(prompt, list) and len(prompt) != 0 and not isinstance(prompt[0], int)
    return is_batch or (document.get("n") or 1) != 1 or bool(document.get("best_of"))


def _is_unsupported(document: Document) -> bool:
    """Whether ids could not stand for the prompt: images would be missing, and so would what was echoed."""
    if document.get("echo") or document.get("kv_transfer_params") or document.get("prompt_embeds"):
        return True
    messages = document.get("messages")
    contents = (
        [m.get("content") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
    )
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(not isinstance(part, str) and part.get("type") != "text" for part in parts)


_REFUSALS: Mapping[Refusal, Callable[[Document], bool]] = {
    "several_choices": _has_several_choices,
    # A seed starts its stream anew; greedy decoding needs none.
    "sampling_seed": lambda d: d.get("seed") is not None and d.get("temperature") != 0,
    # They count the tokens of the output only.
    "penalties": lambda d: bool(d.get("presence_penalty") or d.get("frequency_penalty")),
    # The grammar starts anew.
    "structured_output": _is_structured,
    # One that lies across the cut would be missed, and text is held back for them.
    "stop_strings": lambda d: bool(d.get("stop")),
    "unsupported_request": _is_unsupported,
}
