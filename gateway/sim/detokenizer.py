"""Tokens to text, one by one, with vLLM's way around characters cut in two."""

import codecs
from collections.abc import Sequence

from gateway.sim.vocabulary import TOKEN_BYTES, TOKEN_TEXT

_LONGEST_CHARACTER = 4


class Detokenizer:
    """Holds back what ends inside a character until the character is whole.

    All of it, as tokenizers' `DecodeStream` does: a token of a space and half a character says nothing yet.
    Repeats vLLM's trap: when the prompt itself ends inside a character, the first text that comes out
    is the whole prompt's.
    """

    __slots__ = ("_decoder", "_held")

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None  # only while inside a character
        self._held = ""
        decoder = _decoder()
        decoder.decode(_bytes(prompt_ids[-_LONGEST_CHARACTER:]))
        if decoder.getstate()[0]:
            decoder.reset()
            self._held = decoder.decode(_bytes(prompt_ids))
            self._decoder = decoder

    def feed(self, token: int) -> str:
        """Return the text that is whole now; empty while inside a character."""
        whole = TOKEN_TEXT[token]
        decoder = self._decoder
        if decoder is None:
            if whole is not None:
                return whole
            decoder = self._decoder = _decoder()
        self._held += decoder.decode(TOKEN_BYTES[token])
        if decoder.getstate()[0]:
            return ""
        self._decoder = None
        text, self._held = self._held, ""
        return text


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _bytes(ids: Sequence[int]) -> bytes:
    return b"".join([TOKEN_BYTES[token] for token in ids])
