"""Plausible log-probabilities in OpenAI's two shapes. The values depend on the token alone."""

from collections.abc import Sequence
from typing import Any

from gateway.sim.text import decode
from gateway.sim.vocabulary import EOS, TOKEN_BYTES, VOCABULARY_SIZE


def _value(token: int) -> float:
    return -0.05 - (token * 37 % 90) / 100


def _alternatives(token: int, count: int) -> list[int]:
    """Return the token itself and the next words of the vocabulary as less likely ones."""
    words = VOCABULARY_SIZE - EOS - 1
    return [token, *(EOS + 1 + (token + step) % words for step in range(1, count))]


def _entry(token: int, rank: int) -> dict[str, Any]:
    text = decode([token])
    return {"token": text, "logprob": _value(token) - rank, "bytes": list(TOKEN_BYTES[token])}


def chat(ids: Sequence[int], top: int) -> dict[str, Any]:
    """Return chat's ``logprobs`` object with `top` alternatives per token."""
    content = []
    for token in ids:
        ranked = enumerate(_alternatives(token, top)[:top])
        content.append({**_entry(token, 0), "top_logprobs": [_entry(other, rank) for rank, other in ranked]})
    return {"content": content}


def completion(ids: Sequence[int], top: int, text_offset: int) -> dict[str, Any]:
    """Return completions' ``logprobs`` object; offsets count characters from `text_offset`."""
    tokens = [decode([token]) for token in ids]
    offsets = []
    for text in tokens:
        offsets.append(text_offset)
        text_offset += len(text)
    return {
        "text_offset": offsets,
        "token_logprobs": [_value(token) for token in ids],
        "tokens": tokens,
        "top_logprobs": [
            {
                decode([other]): _value(token) - rank
                for rank, other in enumerate(_alternatives(token, top + 1))
            }
            for token in ids
        ],
    }
