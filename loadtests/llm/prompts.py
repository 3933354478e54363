"""Prompts of so many words, each about a token, with nothing in common but what is meant to be shared."""

import random

TEXT = """\
the quiet river carries a small letter near our village and every morning the patient teacher opens
one bright window above the garden while this clever machine answers your question slowly because
that distant bridge keeps the hidden road through the winter forest and a gentle sailor often
remembers the golden lantern"""
WORDS = TEXT.split()


def prompt(rng: random.Random, words: int) -> str:
    """So many words; the first ones differ too, so that no engine has the beginning in its cache."""
    return " ".join(rng.choices(WORDS, k=words))


def shared_prefix(words: int) -> str:
    """The same text for everybody who asks for so many words."""
    return prompt(random.Random(words), words)
