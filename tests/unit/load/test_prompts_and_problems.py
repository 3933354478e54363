"""What users say, and what they say of errors."""

import random

import pytest

from loadtests.llm.problems import refusal
from loadtests.llm.prompts import prompt, shared_prefix


def test_a_prompt_has_as_many_words_as_wanted_and_is_like_no_other() -> None:
    rng = random.Random(1)
    prompts = {prompt(rng, 12) for _ in range(500)}
    assert len(prompts) == 500
    assert all(len(each.split()) == 12 for each in prompts)


def test_what_is_shared_is_the_same_for_all() -> None:
    assert shared_prefix(200) == shared_prefix(200)
    assert len(shared_prefix(200).split()) == 200
    assert shared_prefix(0) == ""


@pytest.mark.parametrize(
    ("status", "error", "body", "said"),
    [
        (200, None, None, ""),
        (0, "[Errno 111] Connection refused", None, "no answer: [Errno 111] Connection refused"),
        (
            503,
            None,
            b'{"error": {"message": "No replica is up. Try again."}}',
            "status 503: No replica is up",
        ),
        (502, None, b"<html>bad gateway</html>", "status 502"),
        (500, None, b'{"error": "text"}', "status 500"),
        (404, None, None, "status 404"),
    ],
)
def test_a_refusal_is_said_in_few_words(status: int, error: object, body: bytes | None, said: str) -> None:
    assert refusal(status, error, body) == said
