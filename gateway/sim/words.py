"""The simulated model's vocabulary: which words it knows and what may follow what.

Owns data only. Each word class names the classes that may come after one of its words, so that the
text reads like sentences and a demo is pleasant to look at.
"""

OPENERS = ("The", "A", "One", "Every", "This", "That", "Our", "Your")
DETERMINERS = ("the", "a", "one", "every", "this", "that", "our", "your")
ADJECTIVES = (
    "quiet", "bright", "small", "patient", "distant", "gentle", "clever", "golden",
    "hidden", "early", "simple", "steady", "silver", "open", "warm", "curious",
)  # fmt: skip
NOUNS = (
    "river", "lantern", "garden", "engine", "harbour", "letter", "mountain", "signal",
    "window", "forest", "teacher", "market", "village", "answer", "story", "bridge",
    "cloud", "machine", "morning", "question", "painter", "road", "island", "winter",
    "sailor", "kitchen", "library", "planet", "shadow", "stream", "token", "model",
)  # fmt: skip
VERBS = (
    "carries", "follows", "remembers", "finds", "builds", "crosses", "keeps", "opens",
    "watches", "answers", "paints", "moves", "holds", "shapes", "meets", "guides",
)  # fmt: skip
ADVERBS = ("slowly", "again", "often", "quickly", "gladly", "softly", "always", "today")
PREPOSITIONS = ("near", "under", "behind", "above", "beside", "through", "with", "beyond")

WHOLE_UTF8 = ("naïve", "café", "über", "señor")
"""Nouns with characters of several bytes, each one token."""

EMOJI_LEAD = b" \xf0\x9f"
"""A token that ends inside a character: the first half of every emoji below."""

EMOJI_TAILS = (b"\x98\x80", b"\x8c\x8d", b"\x9a\x80", b"\x8e\x89")
"""The second halves, tokens that begin inside a character."""
