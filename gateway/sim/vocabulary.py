"""The simulated model's vocabulary: its tokens, and which may follow which.

Owns data only. The word classes make the text read like sentences, so that a demo is pleasant to look
at; ids below 256 are single bytes, so that any text can be said in ids.
"""

from functools import cache

SYSTEM, USER, ASSISTANT, TOOL, EOS = range(256, 261)
"""Special tokens. Words come after them."""

SPECIAL_NAMES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")

_STARTERS = ("The", "A", "One", "Every", "This", "That", "Our", "Your")
_WORDS = {
    "opener": _STARTERS,
    "next opener": tuple(f" {word}" for word in _STARTERS),
    "determiner": tuple(f" {word.lower()}" for word in _STARTERS),
    "adjective": (
        " quiet", " bright", " small", " patient", " distant", " gentle", " clever", " golden",
        " hidden", " early", " simple", " steady", " silver", " open", " warm", " curious",
    ),
    "noun": (
        " river", " lantern", " garden", " engine", " harbour", " letter", " mountain", " signal",
        " window", " forest", " teacher", " market", " village", " answer", " story", " bridge",
        " cloud", " machine", " morning", " question", " painter", " road", " island", " winter",
        " sailor", " kitchen", " library", " planet", " shadow", " stream", " token", " model",
    ),
    "verb": (
        " carries", " follows", " remembers", " finds", " builds", " crosses", " keeps", " opens",
        " watches", " answers", " paints", " moves", " holds", " shapes", " meets", " guides",
    ),
    "adverb": (" slowly", " again", " often", " quickly", " gladly", " softly", " always", " today"),
    "preposition": (" near", " under", " behind", " above", " beside", " through", " with", " beyond"),
    # One token each, with characters of several bytes.
    "accented": (" naïve", " café", " über", " señor"),
}  # fmt: skip
_HALVES: dict[str, tuple[bytes, ...]] = {
    # Two tokens per character: the first ends inside it, the second begins there.
    "emoji lead": (b" \xf0\x9f",),
    "emoji tail": (b"\x98\x80", b"\x8c\x8d", b"\x9a\x80", b"\x8e\x89"),
}
_BYTES = {"full stop": b".", "line break": b"\n"}

_GROUPS = {name: tuple(word.encode() for word in group) for name, group in _WORDS.items()} | _HALVES

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
    "full stop": ("next opener",),
    "line break": ("opener",),
}
_AFTER_WITH_EMOJI = _AFTER | {
    "adjective": ("noun", "accented"),
    "verb": ("determiner", "adverb", *["emoji lead"] * 4),
    "noun": ("verb", "preposition", "full stop", *["emoji lead"] * 4),
}


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


TOKEN_BYTES: tuple[bytes, ...] = (
    *(bytes([value]) for value in range(256)),
    *(b"" for _ in SPECIAL_NAMES),
    *(token for group in _GROUPS.values() for token in group),
)
"""What each id adds to the text; nothing for special tokens."""

TOKEN_TEXT: tuple[str | None, ...] = tuple(_text(token) for token in TOKEN_BYTES)
"""The same as text, None where it is not whole characters."""

VOCABULARY_SIZE = len(TOKEN_BYTES)

IDS_OF_WORDS = {token: i for i, token in enumerate(TOKEN_BYTES) if i > EOS}
"""Ids of the tokens that are not single bytes."""


@cache
def followers(*, emoji: bool) -> tuple[tuple[int, ...], ...]:
    """Return for each id the ids that may come next.

    Args:
        emoji: Let characters of several bytes occur, whole and cut in two.
    """
    ids = {name: tuple(IDS_OF_WORDS[token] for token in group) for name, group in _GROUPS.items()}
    ids |= {name: tuple(byte) for name, byte in _BYTES.items()}
    table = [ids["determiner"]] * EOS + [ids["opener"]] * (VOCABULARY_SIZE - EOS)
    table[SYSTEM : EOS + 1] = [ids["opener"]] * len(SPECIAL_NAMES)
    for name, after in (_AFTER_WITH_EMOJI if emoji else _AFTER).items():
        choices = tuple(token for follower in after for token in ids[follower])
        for token in ids[name]:
            table[token] = choices
    return tuple(table)
