"""Prompts: words that tokenise like words, a topic so that no two are equal."""

import random

TEXT = """\
the gateway keeps a stream alive while one replica restarts and another takes over so nobody waits longer than
a moment for the next token of an answer about rivers bread engines maps or the weather tomorrow"""
WORDS = TEXT.split()


def prompt(rng: random.Random, size_bytes: int) -> str:
    """About `size_bytes` of text."""
    words = [f"Question {rng.getrandbits(32):08x}:"]
    size = len(words[0])
    while size < size_bytes:
        word = rng.choice(WORDS)
        words.append(word)
        size += len(word) + 1
    return " ".join(words)
