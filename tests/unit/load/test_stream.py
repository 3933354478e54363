"""Reading one streamed answer."""

import itertools

import orjson
import pytest

from loadtests.llm.stream import StreamedAnswer, read_stream


def event(**content: object) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def text(content: str) -> bytes:
    return event(choices=[{"delta": {"content": content}}])


ROLE = event(choices=[{"delta": {"role": "assistant", "content": ""}}])
USAGE = event(choices=[], usage={"completion_tokens": 7})
DONE = b"data: [DONE]\n\n"


def read(*events: bytes, leave_after: int | None = None) -> StreamedAnswer:
    """Each event takes a second."""
    waiting = iter(events)
    ticks = itertools.count(101)
    return read_stream(lambda: next(waiting, b""), lambda: float(next(ticks)), 100.0, leave_after)


def test_the_first_token_is_the_first_text_and_not_the_role() -> None:
    answer = read(ROLE, text("a"), text("b"), text("c"), DONE)
    assert answer.ttft_s() == 2.0
    assert answer.gaps_s == [1.0, 1.0]
    assert answer.text == "abc"
    assert answer.tokens_per_s() == 1.0
    assert answer.problem == ""


def test_merged_tokens_are_counted_as_the_usage_says() -> None:
    answer = read(ROLE, text("a bc"), text(" d"), USAGE, DONE)
    assert answer.tokens == 7
    assert answer.tokens_per_s() == 6.0


def test_an_answer_of_one_event_has_no_pace() -> None:
    assert read(text("a"), DONE).tokens_per_s() is None
    assert read(DONE).ttft_s() is None


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([text("a")], "the stream ended without its end marker"),
        ([text("a"), event(error={"message": "engine died"}), DONE], "error event: engine died"),
        ([b"<html>"], "not an event stream"),
    ],
)
def test_a_broken_stream_is_a_problem_whatever_its_status(events: list[bytes], problem: str) -> None:
    assert read(*events).problem == problem


def test_an_impatient_client_leaves_after_so_many_tokens() -> None:
    answer = read(ROLE, text("a"), text("b"), text("c"), DONE, leave_after=2)
    assert (answer.left, answer.text, answer.problem) == (True, "ab", "")
