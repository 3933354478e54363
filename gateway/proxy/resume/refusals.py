"""Which requests are not continued elsewhere because the rest of the answer would be another one.

Measured on real vLLM 0.32, or read in its source: whatever looks at the tokens of the output alone, or counts
them, begins anew on the next replica.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.proxy.resume.recording import Refusal

Document = Mapping[str, Any]

_STRUCTURED = (
    *("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    *("structural_tag", "use_beam_search", "logits_processors", "bad_words"),
)
_UNSUPPORTED = (
    # What was echoed would be echoed again; the others stand beside the prompt that is replaced.
    *("echo", "kv_transfer_params", "prompt_embeds"),
    # They look at the tokens of this answer so far, or at where they stand in it.
    *("thinking_token_budget", "repetition_detection", "vllm_xargs", "return_token_offsets"),
)


def refusal_of(document: Document, *, exact: bool) -> Refusal | None:
    """Why an answer to this request is not continued, from ids (`exact`) or from text; None when it is."""
    refusal = next((label for label, applies in _RULES if applies(document)), None)
    if refusal is None and exact and _has_more_than_text(document):
        return "unsupported_request"
    return refusal


def has_several_choices(document: Document) -> bool:
    """Whether there is more than one answer in the stream."""
    prompt = document.get("prompt")
    is_batch = isinstance(prompt, list) and len(prompt) != 0 and not isinstance(prompt[0], int)
    return is_batch or (document.get("n") or 1) != 1 or bool(document.get("best_of"))


def _is_structured(document: Document) -> bool:
    response_format = document.get("response_format")
    formatted = isinstance(response_format, Mapping) and response_format.get("type") != "text"
    forced = document.get("tool_choice") not in (None, "none", "auto")
    return formatted or forced or any(document.get(key) for key in _STRUCTURED)


def _has_more_than_text(document: Document) -> bool:
    """Whether ids could not stand for the messages: images would be missing."""
    messages = document.get("messages")
    contents = (
        [m.get("content") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
    )
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, Mapping) and part.get("type") != "text" for part in parts)


Rule = tuple[Refusal, Callable[[Document], bool]]

_RULES: tuple[Rule, ...] = (
    ("several_choices", has_several_choices),
    # A seed starts its stream anew; greedy decoding needs none.
    ("sampling_seed", lambda d: d.get("seed") is not None and d.get("temperature") != 0),
    # They count the tokens of the output only.
    ("penalties", lambda d: bool(d.get("presence_penalty") or d.get("frequency_penalty"))),
    # The grammar starts anew.
    ("structured_output", _is_structured),
    # One that lies across the cut would be missed, and the text lags behind the tokens by an unknown number.
    ("stop_strings", lambda d: bool(d.get("stop"))),
    ("unsupported_request", lambda d: any(d.get(key) for key in _UNSUPPORTED)),
)
