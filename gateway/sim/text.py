"""The simulated language model: tokenizer, chat template and a deterministic next token.

Owns what a replica says. The greedy next token is a pure function of (model, adapter, all ids so far):
a completion whose prompt is ``[*P, *T]`` goes on exactly where the run that had prompt ``P`` and said
``T`` would have gone on, as measured on real vLLM. Must never look at a clock or a socket.
"""

import codecs
import random
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from zlib import crc32

from gateway.sim import words

Ids = list[int]

SYSTEM, USER, ASSISTANT, TOOL, EOS = range(256, 261)
"""Special tokens. Ids below 256 are single bytes, ids from ``EOS + 1`` on are words."""

_SPECIAL_TEXT = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
_ROLES = {"system": SYSTEM, "developer": SYSTEM, "user": USER, "assistant": ASSISTANT, "tool": TOOL}


def _spaced(group: Sequence[str]) -> list[bytes]:
    return [b" " + word.encode() for word in group]


_GROUPS: dict[str, list[bytes]] = {
    "opener": [word.encode() for word in words.OPENERS],
    "next opener": _spaced(words.OPENERS),
    "determiner": _spaced(words.DETERMINERS),
    "adjective": _spaced(words.ADJECTIVES),
    "noun": _spaced(words.NOUNS),
    "verb": _spaced(words.VERBS),
    "adverb": _spaced(words.ADVERBS),
    "preposition": _spaced(words.PREPOSITIONS),
    "accented": _spaced(words.WHOLE_UTF8),
    "emoji lead": [words.EMOJI_LEAD],
    "emoji tail": list(words.EMOJI_TAILS),
}
_AFTER = {
    "opener": ("adjective", "noun"),
    "next opener": ("adjective", "noun"),
    "determiner": ("adjective", "noun"),
    "adjective": ("noun",),
    "noun": ("verb", "preposition", "full stop"),
    "verb": ("determiner", "adverb"),
    "adverb": ("preposition", "full stop"),
    "preposition": ("determiner",),
    "accented": ("verb",),
    "emoji lead": ("emoji tail",),
    "emoji tail": ("next opener",),
}
_AFTER_WITH_EMOJI = {
    **_AFTER,
    "adjective": ("noun", "accented"),
    "verb": ("determiner", "adverb", *["emoji lead"] * 4),
    "noun": ("verb", "preposition", "full stop", *["emoji lead"] * 4),
}
_FULL_STOP = ord(".")

_TOKENS: list[bytes] = [bytes([value]) for value in range(256)] + [b""] * len(_SPECIAL_TEXT)
_GROUP_IDS: dict[str, tuple[int, ...]] = {"full stop": (_FULL_STOP,)}
for _name, _group in _GROUPS.items():
    _GROUP_IDS[_name] = tuple(range(len(_TOKENS), len(_TOKENS) + len(_group)))
    _TOKENS.extend(_group)

TOKEN_BYTES: tuple[bytes, ...] = tuple(_TOKENS)
"""What each id adds to the text; nothing for special tokens."""

VOCABULARY_SIZE = len(TOKEN_BYTES)


def _whole(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


TOKEN_TEXT: tuple[str | None, ...] = tuple(_whole(token) for token in TOKEN_BYTES)
"""The text of each id, None where it is not whole characters."""

_PACKED = tuple(struct.pack("<H", token) for token in range(VOCABULARY_SIZE))
_IDS_OF_WORDS = {TOKEN_BYTES[i]: i for i in range(EOS + 1, VOCABULARY_SIZE)}
# A word with the space before it, an emoji's half, or a single byte: the generated pieces come apart
# again where they were put together, so that text goes back to the ids it was made from.
_PIECES = re.compile(rb" ?(?:[A-Za-z]|\xc3[\x80-\xbf])+| \xf0\x9f|[\x80-\xbf]{2}|.", re.DOTALL)


@cache
def _followers(*, emoji: bool) -> tuple[tuple[int, ...], ...]:
    """For each id the ids that may come next."""
    after = _AFTER_WITH_EMOJI if emoji else _AFTER
    table = [_GROUP_IDS["determiner"]] * VOCABULARY_SIZE
    for special in range(SYSTEM, EOS + 1):
        table[special] = _GROUP_IDS["opener"]
    table[ord("\n")] = _GROUP_IDS["opener"]
    table[_FULL_STOP] = _GROUP_IDS["next opener"]
    for name, names in after.items():
        choices = tuple(token for follower in names for token in _GROUP_IDS[follower])
        for token in _GROUP_IDS[name]:
            table[token] = choices
    return tuple(table)


def encode(text: str) -> Ids:
    """Tokenize; ``decode(encode(text)) == text`` for every text."""
    ids: Ids = []
    known = _IDS_OF_WORDS.get
    for piece in _PIECES.findall(text.encode("utf-8", "surrogatepass")):
        token = known(piece)
        if token is None:
            ids.extend(piece)
        else:
            ids.append(token)
    return ids


def decode(ids: Sequence[int], *, specials: bool = False) -> str:
    """Concatenate what the ids say; bytes that are not UTF-8 become U+FFFD.

    Args:
        ids: Tokens, each below `VOCABULARY_SIZE`.
        specials: Show special tokens by name (as ``/detokenize`` does) instead of leaving them out.
    """
    if specials:
        return b"".join(_named(token) for token in ids).decode("utf-8", "replace")
    return b"".join([TOKEN_BYTES[token] for token in ids]).decode("utf-8", "replace")


def _named(token: int) -> bytes:
    return _SPECIAL_TEXT[token - SYSTEM].encode() if SYSTEM <= token <= EOS else TOKEN_BYTES[token]


def content_text(content: Any) -> str:
    """Return the text of a message's ``content``, which is a string, a list of parts or null."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def render_chat(messages: Sequence[Mapping[str, Any]], *, continue_final: bool = False) -> Ids:
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
        self._followers = _followers(emoji=emoji)
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
    """A model with its adapters: equal names say equal things, in every process and on every machine."""

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


class Detokenizer:
    """Turns generated tokens into text one by one and holds back what ends inside a character.

    Repeats vLLM's trap: when the prompt itself ends inside a character, the first text that comes out
    is the whole prompt's.
    """

    __slots__ = ("_decoder", "_prefix")

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None  # only while inside a character
        self._prefix = ""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(b"".join([TOKEN_BYTES[token] for token in prompt_ids[-4:]]))
        if decoder.getstate()[0]:
            decoder.reset()
            self._prefix = decoder.decode(b"".join([TOKEN_BYTES[token] for token in prompt_ids]))
            self._decoder = decoder

    def feed(self, token: int) -> str:
        """Return the text that is whole now; empty while inside a character."""
        whole = TOKEN_TEXT[token]
        decoder = self._decoder
        if decoder is None:
            if whole is not None:
                return whole
            decoder = self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(TOKEN_BYTES[token])
        if not decoder.getstate()[0]:
            self._decoder = None
        if text and self._prefix:
            text, self._prefix = self._prefix + text, ""
        return text


def expected_text(
    model: str,
    adapter: str | None,
    prompt: Sequence[int] | Sequence[Mapping[str, Any]] | str,
    n_tokens: int,
    *,
    emoji: bool = False,
) -> str:
    """Return what a simulated replica answers greedily, for ledgers that check every byte.

    Args:
        model: The replica's ``--model``, whatever served name or alias the request used.
        adapter: The adapter's name, or None for the base model.
        prompt: Chat messages, prompt ids, or a completion's prompt text.
        n_tokens: Tokens generated (the request's ``max_tokens``).
        emoji: Whether the replica speaks with split UTF-8 characters (``--emoji``).
    """
    ids = prompt_ids(prompt)
    detokenizer = Detokenizer(ids)
    generated = LanguageModel(model, emoji=emoji).greedy_ids(adapter, ids, n_tokens)
    return "".join([detokenizer.feed(token) for token in generated])


def prompt_ids(prompt: Sequence[int] | Sequence[Mapping[str, Any]] | str) -> Ids:
    """Return the ids of chat messages, of a text, or the ids themselves."""
    if isinstance(prompt, str):
        return encode(prompt)
    messages = [item for item in prompt if isinstance(item, Mapping)]
    if messages:
        return render_chat(messages)
    return [item for item in prompt if isinstance(item, int)]
