"""The simulated language model: tokenizer, chat template and a deterministic next token.

Owns what a replica says. The greedy next token is a pure function of (model, adapter, all ids so far):
a completion whose prompt is ``[*P, *T]`` goes on exactly where the run that had prompt ``P`` and said
``T`` would have gone on, as measured on real vLLM. Must never look at a clock or a socket.
"""

import random
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from gateway.sim.detokenizer import Detokenizer
from gateway.sim.vocabulary import (
    ASSISTANT,
    EOS,
    IDS_OF_WORDS,
    SPECIAL_NAMES,
    SYSTEM,
    TOKEN_BYTES,
    TOOL,
    USER,
    VOCABULARY_SIZE,
    followers,
)

Ids = list[int]
Messages = Sequence[Mapping[str, Any]]

_ROLES = {"system": SYSTEM, "developer": SYSTEM, "user": USER, "assistant": ASSISTANT, "tool": TOOL}
# A word with the space before it, an emoji's half, or a single byte: what was generated comes apart
# again where it was put together.
_PIECES = re.compile(rb" ?(?:[A-Za-z]|\xc3[\x80-\xbf])+| \xf0\x9f|[\x80-\xbf]{2}|.", re.DOTALL)
_PACKED = tuple(struct.pack("<H", token) for token in range(VOCABULARY_SIZE))


def encode(text: str) -> Ids:
    """Tokenize; ``decode(encode(text)) == text`` for every text that is Unicode."""
    ids: Ids = []
    known = IDS_OF_WORDS.get
    for piece in _PIECES.findall(text.encode("utf-8", "replace")):
        token = known(piece)
        if token is None:
            ids.extend(piece)
        else:
            ids.append(token)
    return ids


def decode(ids: Sequence[int], *, specials: bool = False) -> str:
    """Concatenate what the ids say; bytes that are not UTF-8 become U+FFFD.

    Args:
        ids: Tokens of the vocabulary.
        specials: Show special tokens by name (as ``/detokenize`` does) instead of leaving them out.
    """
    if specials:
        return b"".join([_named(token) for token in ids]).decode("utf-8", "replace")
    return b"".join([TOKEN_BYTES[token] for token in ids]).decode("utf-8", "replace")


def _named(token: int) -> bytes:
    return SPECIAL_NAMES[token - SYSTEM].encode() if SYSTEM <= token <= EOS else TOKEN_BYTES[token]


def content_text(content: Any) -> str:
    """Return the text of a message's ``content``, which is a string, a list of parts or null."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def render_chat(messages: Messages, *, continue_final: bool = False) -> Ids:
    """Apply the chat template.

    Args:
        messages: ``role`` and ``content`` of each message; unknown roles count as user.
        continue_final: Leave the last message open instead of opening an answer (vLLM's
            ``continue_final_message``).
    """
    ids: Ids = []
    for message in messages:
        ids.append(_ROLES.get(str(message.get("role", "user")), USER))
        ids += encode(content_text(message.get("content")))
        ids.append(EOS)
    if continue_final and ids:
        ids.pop()
    else:
        ids.append(ASSISTANT)
    return ids


class Speaker:
    """One run of the model: give it the prompt, ask for one token after another."""

    __slots__ = ("_followers", "_last", "_random", "_state")

    def __init__(
        self, seed: int, prompt_ids: Sequence[int], *, emoji: bool, rng: random.Random | None
    ) -> None:
        self._followers = followers(emoji=emoji)
        # CRC-32 runs over the whole prompt in C and goes on token by token: the state after P then T is
        # the state after P+T, which is all that exact continuation needs.
        self._state = crc32(struct.pack(f"<{len(prompt_ids)}H", *prompt_ids), seed)
        self._last = prompt_ids[-1] if prompt_ids else EOS
        self._random = rng

    def next_token(self) -> int:
        choices = self._followers[self._last]
        if self._random is None:
            # Knuth's multiplicative hash spreads the CRC's low bits over the choices.
            token = choices[(self._state * 2654435761 & 0xFFFFFFFF) * len(choices) >> 32]
        else:
            token = choices[int(self._random.random() * len(choices))]
        self._last = token
        self._state = crc32(_PACKED[token], self._state)
        return token


class LanguageModel:
    """A model with its adapters: equal names say equal things, in every process, on every machine."""

    def __init__(self, model: str, *, emoji: bool = False) -> None:
        self.model = model
        self.emoji = emoji

    def speaker(
        self, adapter: str | None, prompt_ids: Sequence[int], rng: random.Random | None = None
    ) -> Speaker:
        """Begin to speak after a prompt: greedily, or sampled if `rng` is given."""
        seed = crc32(f"{self.model}\0{adapter or ''}".encode())
        return Speaker(seed, prompt_ids, emoji=self.emoji, rng=rng)

    def greedy_ids(self, adapter: str | None, prompt_ids: Sequence[int], n_tokens: int) -> Ids:
        speaker = self.speaker(adapter, prompt_ids)
        return [speaker.next_token() for _ in range(n_tokens)]


def prompt_ids(prompt: Sequence[int] | Messages | str) -> Ids:
    """Return the ids of chat messages, of a text, or the ids themselves."""
    if isinstance(prompt, str):
        return encode(prompt)
    messages = [item for item in prompt if isinstance(item, Mapping)]
    if messages:
        return render_chat(messages)
    return [item for item in prompt if isinstance(item, int)]


def expected_text(
    model: str,
    adapter: str | None,
    prompt: Sequence[int] | Messages | str,
    n_tokens: int,
    *,
    emoji: bool = False,
) -> str:
    """Return what a simulated replica answers greedily, for ledgers that check every byte.

    Args:
        model: The replica's ``--model``, whatever served name or alias the request used.
        adapter: The adapter's name, or None for the base model.
        prompt: Chat messages, prompt ids, or a completion's prompt text.
        n_tokens: Tokens generated: the request's ``max_tokens``, 16 for a completion without one,
            the replica's ``--tokens-default`` for a chat without one.
        emoji: Whether the replica was started with ``--emoji``.
    """
    ids = prompt_ids(prompt)
    detokenizer = Detokenizer(ids)
    generated = LanguageModel(model, emoji=emoji).greedy_ids(adapter, ids, n_tokens)
    return "".join([detokenizer.feed(token) for token in generated])
