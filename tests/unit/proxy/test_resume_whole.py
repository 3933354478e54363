"""A cut stream and its continuation together are the undisturbed stream, to the byte."""

from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.resume.recording import Recording
from gateway.proxy.resume.request import closing_events, continuation, with_token_ids
from gateway.proxy.resume.tape import Tape
from gateway.proxy.resume.text import TextTape
from gateway.sim.text import decode
from tests.unit.proxy.simulated_events import (
    CHAT,
    COMPLETIONS,
    MODEL,
    choices_of,
    events_of_stream,
    request_body,
    split,
    text_of,
)


@dataclass
class Budget:
    """What is kept over all tapes of a test."""

    used: int = 0

    def account(self, change: int) -> bool:
        self.used += change
        return True


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, dict[str, Any]]:
    path = draw(st.sampled_from([CHAT, COMPLETIONS]))
    usage = draw(st.sampled_from([None, {}, {"include_usage": True}]))
    if usage:
        usage = {**usage, "continuous_usage_stats": draw(st.booleans())}
    logprobs: Any = draw(st.sampled_from([None, 2]))
    options = {
        "model": draw(st.sampled_from([MODEL, "sql"])),
        "max_tokens": draw(st.sampled_from([None, *range(1, 24)])),
        "min_tokens": draw(st.sampled_from([None, 0, 3])),
        "stream_options": usage,
        "repetition_penalty": draw(st.sampled_from([None, 1.1])),
        "return_token_ids": draw(st.sampled_from([None, True, False])),
        "logprobs": (logprobs is not None or None) if path == CHAT else logprobs,
        "top_logprobs": logprobs if path == CHAT else None,
    }
    prompt = draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
    return path, request_body(path, prompt, **options), options


def in_reads(data: st.DataObject, events: list[bytes]) -> list[bytes]:
    """The events as reads from a socket, after whole events were made of them: several may come at once."""
    reads = []
    while events:
        size = data.draw(st.integers(1, 4))
        reads.append(b"".join(events[:size]))
        events = events[size:]
    return reads


def relay(tape: Recording, reads: list[bytes]) -> list[bytes]:
    seen = split(b"".join([tape.edit(read) for read in reads]))
    tape.settle()
    return seen


@settings(deadline=None)
@given(requests(), st.data())
def test_in_mode_exact_the_client_s_bytes_are_those_of_an_undisturbed_stream(
    request: tuple[str, bytes, dict[str, Any]], data: st.DataObject
) -> None:
    path, body, options = request
    truth = events_of_stream(path, body)
    budget = Budget()
    tape = Tape(1 << 20, budget.account, client_asked_for_ids=options["return_token_ids"] is True)
    asked = with_token_ids(body)
    seen: list[bytes] = []
    left, created = events_of_stream(path, asked), 1000
    for _ in range(data.draw(st.integers(0, 3), label="deaths")):
        cut = data.draw(st.integers(0 if seen else 1, len(left) - 1), label="cut")
        seen += relay(tape, in_reads(data, left[:cut]))
        if tape.finished:
            break
        created += 1
        more = continuation(path, asked, tape)
        assert isinstance(more, bytes), more
        left = events_of_stream(path, more, created=created)
    if tape.finished:
        ending = closing_events(asked, tape)
        assert isinstance(ending, bytes)
        seen += split(ending)
        seen = without_fingerprint(seen)
        truth = without_fingerprint(truth)
    else:
        seen += relay(tape, in_reads(data, left))
    assert seen == truth
    tape.close()
    assert budget.used == 0


def without_fingerprint(events: list[bytes]) -> list[bytes]:
    """vLLM's last event carries the server's fingerprint, which is not known here."""
    return [event.replace(b',"system_fingerprint":"fp"', b"") for event in events]


@settings(deadline=None)
@given(
    st.sampled_from([CHAT, COMPLETIONS]),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.integers(1, 5),
    st.data(),
)
def test_no_cut_inside_a_character_loses_doubles_or_adds_text(
    path: str, prompt: str, interval: int, data: st.DataObject
) -> None:
    body = request_body(path, prompt, max_tokens=24, stream_interval=interval)
    truth = text_of(events_of_stream(path, body, emoji=True))
    tape = Tape(1 << 20, lambda _: True, client_asked_for_ids=False)
    asked = with_token_ids(body)
    left = events_of_stream(path, asked, emoji=True)
    cut = data.draw(st.integers(1, len(left) - 1), label="cut")
    seen = relay(tape, in_reads(data, left[:cut]))
    if tape.finished:
        return
    assert isinstance(continuation(path, asked, tape), bytes)
    if tape.merged:
        settle(tape)
    more = continuation(path, asked, tape)
    assert isinstance(more, bytes)
    seen += relay(tape, events_of_stream(path, more, emoji=True))
    assert text_of(seen) == truth
    ids = events_of_stream(path, asked, emoji=True)
    assert tape.tokens == b",".join(b"%d" % i for c in choices_of(ids) for i in c.get("token_ids") or [])


def settle(tape: Tape) -> None:
    """What a replica's /detokenize is asked for."""
    ids = tape.last_ids(16)
    back = next(
        n for n in range(len(ids)) if not decode(list(map(int, ids[: len(ids) - n]))).endswith("\ufffd")
    )
    tape.take_back(ids[len(ids) - back :])


@settings(deadline=None)
@given(requests(), st.data())
def test_in_mode_text_nothing_is_asked_for_and_the_text_goes_on(
    request: tuple[str, bytes, dict[str, Any]], data: st.DataObject
) -> None:
    path, body, options = request
    truth = events_of_stream(path, body)
    budget = Budget()
    tape = TextTape(1 << 20, budget.account)
    cut = data.draw(st.integers(1, len(truth) - 1), label="cut")
    reads = in_reads(data, truth[:cut])
    seen = relay(tape, reads)
    assert seen == truth[:cut]
    if tape.finished:
        assert isinstance(closing_events(body, tape), bytes)
        return
    more = continuation(path, body, tape)
    assert isinstance(more, bytes), more
    assert b'"return_token_ids":true' not in more or options["return_token_ids"]
    seen += relay(tape, in_reads(data, events_of_stream(path, more, created=7)))
    # The simulated tokenizer takes words apart as they were put together, so text is exact here too.
    expected = [orjson.loads(event[6:]) for event in truth[:-1]]
    got = [orjson.loads(event[6:]) for event in seen[:-1]]
    assert seen[-1] == truth[-1]
    assert got == expected
    tape.close()
    assert budget.used == 0
