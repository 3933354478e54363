"""What a tape keeps of a stream, what it hides of it, and what it gives back."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.resume import tape as tape_module
from gateway.proxy.resume.recording import Recording
from gateway.proxy.resume.request import continuation
from gateway.proxy.resume.tape import Tape
from gateway.proxy.resume.text import TextTape
from tests.unit.proxy.simulated_events import (
    CHAT,
    COMPLETIONS,
    request_body,
    text_of,
)
from tests.unit.proxy.tapes import exact, played

# -- what the client sees --


def test_ids_inside_a_text_are_text() -> None:
    """What looks like ids in a prompt comes back in an answer with its quotes escaped."""
    head = b'data: {"id":"c","object":"text_completion","created":1,"model":"m",'
    text = head + b'"choices":[{"index":0,"text":"\\"token_ids\\":[1,2]","token_ids":[7]}]}\n\n'
    tape = exact()
    assert tape.edit(text) == text.replace(b'"token_ids":[7]', b'"token_ids":null')
    assert tape.tokens == b"7"


def test_text_that_looks_like_the_beginning_of_an_event_is_text() -> None:
    head = b'data: {"id":"c","object":"text_completion","created":1,"model":"m",'
    first = head + b'"choices":[{"index":0,"text":"a","token_ids":[7],"prompt_token_ids":[1]}]}\n\n'
    second = head + b'"choices":[{"index":0,"text":"data: \\"text\\":\\"\\"","token_ids":[8]}]}\n\n'
    tape = exact()
    tape.edit(first + second)
    assert (tape.safe, tape.seen) == (2, 2)


def test_an_event_cut_at_its_limit_passes_as_it_is() -> None:
    tape = exact()
    assert (
        tape.edit(b'data: {"id":"c","choices":[{"index":0,"text":"')
        == b'data: {"id":"c","choices":[{"index":0,"text":"'
    )
    assert tape.edit(b'"}]}\n\n') == b'"}]}\n\n'


# -- what is refused --

HEAD = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'


def delta(inside: bytes, ids: bytes) -> bytes:
    choice = b'{"index":0,"delta":{%b},"logprobs":null,"finish_reason":null,"token_ids":[%b]}' % (inside, ids)
    return HEAD + b'"choices":[%b]}\n\n' % choice


ROLE = (
    HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"prompt_token_ids":[1,2]}\n\n'
)


@pytest.mark.parametrize("make", [exact, lambda: TextTape(1 << 20, lambda _: True)])
@pytest.mark.parametrize(
    ("events", "label"),
    [
        ((delta(b'"content":"a\xef\xbf\xbd"', b"3"),), "partial_character"),
        ((delta(b'"content":"a\\ufffd"', b"3"),), "partial_character"),
        ((delta(b'"tool_calls":[{"index":0}]', b"3"), delta(b'"content":"b"', b"4")), "tool_call"),
        ((delta(b'"reasoning":"hm"', b"3"),), "reasoning"),
    ],
)
def test_what_a_stream_says_can_rule_out_its_continuation(
    make: type[Recording], events: tuple[bytes, ...], label: str
) -> None:
    tape = make()  # type: ignore[call-arg]
    for event in (ROLE, *events):
        tape.edit(event)
    assert continuation(CHAT, request_body(CHAT, "hi"), tape) == label


def test_a_character_that_is_whole_again_is_no_hindrance() -> None:
    tape = exact()
    for event in (ROLE, delta(b'"content":"a\xef\xbf\xbd"', b"3"), delta(b'"content":"b"', b"4")):
        tape.edit(event)
    assert isinstance(continuation(CHAT, request_body(CHAT, "hi"), tape), bytes)


def test_half_a_character_among_the_logprobs_is_no_hindrance() -> None:
    tape = exact()
    tape.edit(ROLE)
    said = b'"logprobs":{"content":[{"token":"\xef\xbf\xbd","top_logprobs":[]}]}'
    tape.edit(delta(b'"content":"a"', b"3").replace(b'"logprobs":null', said))
    tape.settle()
    assert tape.safe == 1
    assert not tape.stuck


def test_what_follows_the_reasoning_can_be_continued_from_ids_but_not_from_text() -> None:
    events = (ROLE, delta(b'"reasoning":"hm"', b"3"), delta(b'"content":"b"', b"4"))
    tape, text = exact(), TextTape(1 << 20, lambda _: True)
    for event in events:
        tape.edit(event)
        text.edit(event)
    assert isinstance(continuation(CHAT, request_body(CHAT, "hi"), tape), bytes)
    assert continuation(CHAT, request_body(CHAT, "hi"), text) == "reasoning"


def test_ids_that_the_client_has_are_not_made_again() -> None:
    tape = exact(shown=True)
    for event in (ROLE, delta(b'"content":"a"', b"3"), delta(b'"content":""', b"4")):
        tape.edit(event)
    assert continuation(CHAT, request_body(CHAT, "hi"), tape) == "partial_character"


def test_events_without_the_usual_beginning_are_not_continued() -> None:
    for tape in (exact(), TextTape(1 << 20, lambda _: True)):
        tape.edit(b'data: {"choices":[{"index":0,"text":"a","token_ids":[1],"prompt_token_ids":[1]}]}\n\n')
        assert isinstance(continuation(COMPLETIONS, request_body(COMPLETIONS, "hi"), tape), str)


# -- going back --


def test_tokens_that_have_no_text_yet_can_be_taken_back_one_by_one() -> None:
    tape = exact()
    for event in (ROLE, delta(b'"content":"a"', b"3"), delta(b'"content":"b"', b"44,555,6")):
        tape.edit(event)
    tape.settle()
    assert tape.merged
    assert tape.last_ids(2) == [b"555", b"6"]
    tape.take_back([b"555", b"6"])
    more = continuation(CHAT, request_body(CHAT, "hi", max_tokens=9), tape)
    assert isinstance(more, bytes)
    document = orjson.loads(more)
    assert document["kv_transfer_params"]["prompt_token_ids"] == [1, 2, 3, 44]
    assert document["max_tokens"] == 7
    assert (bytes(tape.tokens), tape.seen) == (b"3,44", 2)
    assert not tape.merged


def test_all_tokens_can_be_taken_back() -> None:
    tape = exact()
    tape.edit(ROLE)
    tape.edit(delta(b'"content":"b"', b"44,5"))
    tape.take_back(tape.last_ids(9))
    more = continuation(CHAT, request_body(CHAT, "hi"), tape)
    assert isinstance(more, bytes)
    assert orjson.loads(more)["kv_transfer_params"]["prompt_token_ids"] == [1, 2]
    assert tape.tokens == b""


def test_in_mode_text_tokens_are_counted_by_events_where_usage_does_not_tell() -> None:
    body = request_body(COMPLETIONS, "hi", max_tokens=9)
    tape = TextTape(1 << 20, lambda _: True)
    seen = played(tape, body, COMPLETIONS, upto=5)
    assert tape.seen == 5
    assert orjson.loads(b'"' + tape.text + b'"') == text_of(seen)
    more = continuation(COMPLETIONS, body, tape)
    assert isinstance(more, bytes)
    assert orjson.loads(more)["prompt"] == "hi" + text_of(seen)
    assert orjson.loads(more)["max_tokens"] == 4


def test_in_mode_text_half_of_a_surrogate_pair_is_not_continued() -> None:
    tape = TextTape(1 << 20, lambda _: True)
    tape.edit(ROLE)
    tape.edit(delta(b'"content":"\\ud83d"', b"3"))
    assert continuation(CHAT, request_body(CHAT, "hi"), tape) == "partial_character"


def test_in_mode_text_a_stream_without_text_begins_anew() -> None:
    tape = TextTape(1 << 20, lambda _: True)
    tape.edit(ROLE)
    body = request_body(CHAT, "hi", max_tokens=3)
    assert continuation(CHAT, body, tape) == body


# -- the short way --

TEXTS = st.text(st.sampled_from('ab "\\\ufffd\u00fd\n{}[]:,😀'), max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 300), max_size=3)), max_size=6), st.booleans())
def test_the_short_way_past_plain_events_ends_where_the_long_one_does(
    said: list[tuple[str, list[int]]],
    shown: bool,  # noqa: FBT001
) -> None:
    events = [ROLE]
    for text, ids in said:
        inside = b'"content":' + orjson.dumps(text)
        events.append(delta(inside, b",".join(b"%d" % each for each in ids)))
    short, long = exact(shown=shown), exact(shown=shown)
    seen = [short.edit(event) for event in events]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape_module, "_is_plain", lambda *_: False)
        assert [long.edit(event) for event in events] == seen
    short.settle()
    for name in ("safe", "seen", "stuck", "merged", "reasoning", "tokens", "_safe_end"):
        assert getattr(short, name) == getattr(long, name), name


def test_a_replica_that_knows_no_ids_need_not_be_watched_but_one_that_is_only_slow_must() -> None:
    head = b'data: {"id":"a","object":"o","created":1,"model":"m","choices":[{"index":0,'
    word = head + b'"delta":{"content":"a"},"logprobs":null,"finish_reason":null}]}\n\n'
    silent = Tape(1 << 16, lambda _: True, client_asked_for_ids=False)
    for event in (b": keep-alive\n\n", b": keep-alive\n\n", word):
        assert silent.edit(event) == event
        assert not silent.useless
    assert silent.edit(word) == word
    assert silent.useless
    assert silent.refusal() == "no_token_ids"
