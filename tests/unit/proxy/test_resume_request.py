"""Requests that ask for ids, requests that go on, and requests whose answer can't go on."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.resume.refusals import refusal_of
from gateway.proxy.resume.request import closing_events, continuation, with_token_ids
from gateway.proxy.resume.tape import Tape
from gateway.telemetry.families import RESUME_OUTCOMES
from tests.unit.proxy.simulated_events import CHAT, COMPLETIONS, events_of_stream, request_body

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)


def tape_of(path: str, body: bytes, events: int) -> Tape:
    tape = Tape(1 << 20, lambda _: True, client_asked_for_ids=False)
    for event in events_of_stream(path, with_token_ids(body))[:events]:
        tape.edit(event)
    return tape


# -- asking for ids --


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=5) | st.just("return_token_ids"), JSON, max_size=4),
    st.sampled_from(["", " ", "\n\t "]),
    st.booleans(),
)
def test_asking_for_ids_changes_nothing_else(document: dict[str, Any], space: str, spaced: bool) -> None:  # noqa: FBT001
    separators = None if spaced else (",", ":")
    body = (space + json.dumps(document, separators=separators) + space).encode()
    assert json.loads(with_token_ids(body)) == {**document, "return_token_ids": True}


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le", "utf-16"])
def test_a_body_in_another_encoding_is_left_alone(encoding: str) -> None:
    body = json.dumps({"model": "m"}).encode(encoding)
    assert with_token_ids(body) == body


def test_of_duplicate_keys_the_added_one_counts() -> None:
    body = b'{"return_token_ids":false,"a":1,"return_token_ids":false}'
    assert json.loads(with_token_ids(body))["return_token_ids"] is True


# -- what can't go on --

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("several_choices", {"n": 2}),
    ("several_choices", {"best_of": 2}),
    ("several_choices", {"prompt": ["a", "b"]}),
    ("several_choices", {"prompt": [[1, 2]]}),
    ("sampling_seed", {"seed": 1}),
    ("sampling_seed", {"seed": 0, "temperature": 0.1}),
    ("penalties", {"presence_penalty": 0.1}),
    ("penalties", {"frequency_penalty": -0.1}),
    ("structured_output", {"response_format": {"type": "json_object"}}),
    ("structured_output", {"structured_outputs": {"regex": "a"}}),
    ("structured_output", {"guided_json": {}, "guided_regex": "a"}),
    ("structured_output", {"bad_words": ["x"]}),
    ("structured_output", {"use_beam_search": True}),
    ("structured_output", {"tool_choice": "required"}),
    ("structured_output", {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("stop_strings", {"stop": "a"}),
    ("stop_strings", {"stop": ["a"]}),
    ("unsupported_request", {"echo": True}),
    ("unsupported_request", {"prompt_embeds": "x"}),
    ("unsupported_request", {"kv_transfer_params": {"do_remote_decode": True}}),
    ("unsupported_request", {"thinking_token_budget": 9}),
    ("unsupported_request", {"repetition_detection": {"min_count": 3}}),
    ("unsupported_request", {"vllm_xargs": {"a": 1}}),
]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("label", "options"), REFUSED)
def test_what_would_go_on_differently_is_refused(label: str, options: dict[str, Any], exact: bool) -> None:  # noqa: FBT001
    assert refusal_of(options, exact=exact) == label
    assert label in RESUME_OUTCOMES


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n": 1},
        {"n": None},
        {"seed": 1, "temperature": 0},
        {"seed": None},
        {"temperature": 1.3, "top_p": 0.5, "top_k": 3},
        {"presence_penalty": 0, "frequency_penalty": 0.0},
        {"repetition_penalty": 1.2},
        {"response_format": {"type": "text"}},
        {"response_format": None, "structured_outputs": None},
        {"stop": []},
        {"stop": None, "stop_token_ids": [5]},
        {"tools": [{}], "tool_choice": "auto"},
        {"tool_choice": "none"},
        {"logprobs": True, "top_logprobs": 3},
        {"logit_bias": {"5": 1}},
        {"prompt": [1, 2]},
        {"echo": False},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}, "odd", {}]},
    ],
)
def test_what_goes_on_the_same_is_not_refused(options: dict[str, Any]) -> None:
    assert refusal_of(options, exact=True) is None
    assert refusal_of(options, exact=False) is None


def test_images_can_go_on_from_text_but_not_from_ids() -> None:
    document = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    assert refusal_of(document, exact=True) == "unsupported_request"
    assert refusal_of(document, exact=False) is None


# -- limits --


@pytest.mark.parametrize(
    ("path", "asked", "left"),
    [
        (CHAT, {"max_tokens": 9}, {"max_tokens": 6}),
        (CHAT, {"max_completion_tokens": 9}, {"max_completion_tokens": 6}),
        (
            CHAT,
            {"max_tokens": 20, "max_completion_tokens": 9},
            {"max_tokens": 17, "max_completion_tokens": 6},
        ),
        (CHAT, {"min_tokens": 5}, {"min_tokens": 2}),
        (CHAT, {"min_tokens": 2}, {"min_tokens": 0}),
        (COMPLETIONS, {}, {"max_tokens": 13}),
    ],
)
def test_what_was_made_is_taken_off_the_limits(
    path: str, asked: dict[str, Any], left: dict[str, int]
) -> None:
    body = request_body(path, "hi", **asked)
    more = continuation(path, body, tape_of(path, body, 3 + (path == CHAT)))
    assert isinstance(more, bytes)
    document = orjson.loads(more)
    assert {key: document[key] for key in left} == left


def test_a_limit_that_is_used_up_leaves_nothing_to_ask_for() -> None:
    body = request_body(CHAT, "hi", max_tokens=20)
    tape = tape_of(CHAT, body, 8)
    assert continuation(CHAT, request_body(CHAT, "hi", max_tokens=7), tape) == "nothing_left"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"a"', b"\xff\xfe", b'{"max_tokens":"9"}', b'{"max_tokens":1.5}', b'{"a":NaN}'],
)
def test_no_body_whatever_breaks_the_decision(body: bytes) -> None:
    tape = tape_of(CHAT, request_body(CHAT, "hi"), 4)
    assert continuation(CHAT, body, tape) == "unsupported_request"
    assert closing_events(body, tape) == "unsupported_request"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["n", "stop", "prompt", "messages", "stream_options", "tool_choice"]), JSON
    )
)
def test_no_option_whatever_breaks_the_decision(options: dict[str, Any]) -> None:
    tape = tape_of(CHAT, request_body(CHAT, "hi"), 4)
    body = json.dumps(options).encode()
    for decided in (continuation(CHAT, body, tape), closing_events(body, tape)):
        assert isinstance(decided, bytes) or decided in RESUME_OUTCOMES
