"""Resuming, held against what vLLM 0.32 was seen to write and how it was seen to read requests."""

from typing import Any

import orjson
import pytest

from gateway.proxy.resume.rejoin import NotAContinuation, Rejoin
from gateway.proxy.resume.request import closing_events, continuation, with_token_ids
from gateway.proxy.resume.tape import Tape

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HEAD = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795474316,"model":"tiny",'
ROLE = HEAD + (
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
    b'"prompt_token_ids":[7,8],"prompt_text":null}\n\n'
)
DONE = b"data: [DONE]\n\n"
USAGE = b'"choices":[],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2}'


def event(delta: str, ids: str | None, finish: str | None = None, logprobs: str = "null") -> bytes:
    """One event of a chat in vLLM's own spelling; `ids` are JSON's digits and commas."""
    finished = "null" if finish is None else f'"{finish}","stop_reason":null'
    token_ids = "null" if ids is None else f"[{ids}]"
    said = f'"delta":{delta},"logprobs":{logprobs},"finish_reason":{finished}'
    return HEAD + f'"choices":[{{"index":0,{said},"token_ids":{token_ids}}}]}}\n\n'.encode()


def text(content: str, ids: str | None, **more: Any) -> bytes:
    return event(f'{{"content":"{content}"}}', ids, **more)


def tape(*reads: bytes, asked: bool = False) -> Tape:
    made = Tape(1 << 20, lambda _: True, client_asked_for_ids=asked)
    for data in reads:
        made.edit(data)
    made.settle()
    return made


def go_on(made: Tape, path: str = CHAT, **body: Any) -> dict[str, Any] | str:
    answer = continuation(path, orjson.dumps({"model": "tiny", "stream": True, **body}), made)
    return answer if isinstance(answer, str) else orjson.loads(answer)


# -- events that vLLM writes only because ids were asked for --


def test_an_event_without_content_is_not_shown_because_vllm_would_not_have_sent_it() -> None:
    """A parser for tool calls holds text back; only with ids asked for, vLLM sends an event all the same."""
    held = event("{}", "9")
    made = tape(ROLE)
    assert made.edit(held) == b""
    assert made.edit(held + text("h", "10") + held) == text("h", None)
    assert made.edit(held + text("i", "11")) == text("i", None)
    assert made.tokens == b"9,9,10,9,9,11"


@pytest.mark.parametrize(
    "shown",
    [
        event("{}", "9", finish="tool_calls"),
        event("{}", "9", logprobs='{"content":[]}'),
        event('{"content":"\\"delta\\":{},\\"logprobs\\":null,\\"finish_reason\\":null"}', "9"),
    ],
    ids=["the finish", "logprobs", "text that looks like it"],
)
def test_an_event_without_content_that_says_something_else_is_shown(shown: bytes) -> None:
    assert tape(ROLE).edit(shown) == shown.replace(b'"token_ids":[9]', b'"token_ids":null')


def test_a_client_that_asks_for_ids_sees_every_event() -> None:
    held = event("{}", "9")
    assert tape(ROLE, asked=True).edit(held) == held


# -- where a stream may be cut --


@pytest.mark.parametrize(
    "held", [event("{}", "10"), text("", "10")], ids=["held by a parser", "half a character"]
)
@pytest.mark.parametrize("is_one_read", [False, True])
def test_tokens_whose_text_the_client_lacks_are_made_again_and_no_others(
    held: bytes, *, is_one_read: bool
) -> None:
    shown = text("a", "9")
    made = tape(ROLE, shown + held) if is_one_read else tape(ROLE, shown, held)
    document = go_on(made, max_tokens=20)
    assert isinstance(document, dict)
    assert document["kv_transfer_params"] == {"prompt_token_ids": [7, 8, 9]}
    assert document["max_tokens"] == 19


def test_tokens_whose_logprobs_the_client_has_but_not_their_text_are_not_made_again() -> None:
    assert go_on(tape(ROLE, text("", "9", logprobs='{"content":[]}'))) == "partial_character"


def test_a_stream_whose_ids_vllm_keeps_to_itself_is_not_continued() -> None:
    """`include_reasoning: false` with a reasoning parser hides the ids of every event."""
    hidden = text("a", None)
    assert go_on(tape(ROLE, hidden)) == "no_token_ids"
    assert go_on(tape(ROLE + hidden)) == "no_token_ids"


# -- the request of the replica that goes on --


def test_a_completion_without_a_limit_has_the_one_of_vllm_minus_what_was_made() -> None:
    document = go_on(tape(ROLE, text("a", "9,10")), COMPLETIONS, prompt="x")
    assert isinstance(document, dict)
    assert document["max_tokens"] == 14


def test_a_limit_of_null_stays_none() -> None:
    document = go_on(tape(ROLE, text("a", "9,10")), COMPLETIONS, prompt="x", max_tokens=None)
    assert isinstance(document, dict)
    assert document["max_tokens"] is None


def test_a_chat_without_a_limit_stays_without() -> None:
    document = go_on(tape(ROLE, text("a", "9,10")), messages=[])
    assert isinstance(document, dict)
    assert "max_tokens" not in document


def test_a_prompt_is_not_truncated_twice() -> None:
    document = go_on(tape(ROLE, text("a", "9")), COMPLETIONS, prompt="x", truncate_prompt_tokens=2)
    assert isinstance(document, dict)
    assert document["prompt"] == [7, 8, 9]
    assert "truncate_prompt_tokens" not in document


@pytest.mark.parametrize(
    "body", [b'{"max_tokens": "20"}', b'{"max_tokens": NaN}', '{"a": 1}'.encode("utf-16-le")]
)
def test_a_body_that_only_vllm_can_read_is_not_continued(body: bytes) -> None:
    assert continuation(CHAT, body, tape(ROLE, text("a", "9"))) == "unsupported_request"


def test_a_body_that_is_not_utf_8_is_left_alone() -> None:
    body = '{"stream": true}'.encode("utf-16-be")
    assert with_token_ids(body) == body


# -- the answer of the replica that goes on --


def test_comments_before_the_first_event_of_the_second_replica_pass() -> None:
    """`--sse-keep-alive-interval` sends them while a request is queued."""
    beat = b": keep-alive\n\n"
    rejoin = Rejoin(HEAD.removeprefix(b"data: "), b"7,8,9", 1)
    assert rejoin.edit(beat) == beat
    theirs = ROLE.replace(b"[7,8]", b"[7,8,9]").replace(b"chatcmpl-1", b"chatcmpl-2")
    more = text("b", "10").replace(b"chatcmpl-1", b"chatcmpl-2")
    assert rejoin.edit(beat + theirs) == beat
    assert rejoin.edit(more) == text("b", "10")


def test_the_first_event_must_show_the_given_prompt() -> None:
    rejoin = Rejoin(HEAD.removeprefix(b"data: "), b"7,8,9", 1)
    with pytest.raises(NotAContinuation):
        rejoin.edit(ROLE)


def test_offsets_of_logprobs_go_on_where_the_text_of_the_first_replica_ended() -> None:
    def piece(ids: str, words: str, offsets: str, prompt: str = "null") -> bytes:
        logprobs = (
            f'{{"text_offset":[{offsets}],"token_logprobs":[-1.5],"tokens":[{words}],"top_logprobs":[null]}}'
        )
        return (
            HEAD
            + (
                f'"choices":[{{"index":0,"text":"x","logprobs":{logprobs},"finish_reason":null,"stop_reason":null,'
                f'"prompt_token_ids":{prompt},"token_ids":[{ids}]}}]}}\n\n'
            ).encode()
        )

    made = tape(piece("9", '"ab"', "0", "[7,8]"), piece("10,11", '"cd","é\\""', "2,4"))
    document = go_on(made, COMPLETIONS, prompt="x", max_tokens=20, logprobs=1)
    assert isinstance(document, dict)
    assert made.edit(piece("12,13", '"f","g"', "0,1", "[7,8,9,10,11]")) == piece(
        "12,13", '"f","g"', "6,7"
    ).replace(b"[12,13]", b"null")


# -- a stream that lacks nothing but its end --


@pytest.mark.parametrize("is_one_read", [False, True])
def test_usage_is_not_sent_twice(*, is_one_read: bool) -> None:
    last, usage = text("b", "9,10", finish="length"), HEAD + USAGE + b"}\n\n"
    made = tape(ROLE, last + usage) if is_one_read else tape(ROLE, last, usage)
    body = orjson.dumps({"stream_options": {"include_usage": True}})
    assert made.finished
    assert closing_events(body, made) == DONE


def test_usage_that_was_asked_for_is_sent_once() -> None:
    made = tape(ROLE, text("b", "9,10", finish="length"))
    body = orjson.dumps({"stream_options": {"include_usage": True}})
    assert closing_events(body, made) == HEAD + USAGE + b"}\n\n" + DONE
