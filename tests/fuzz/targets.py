"""What must hold for any input. Each target is a Hypothesis test; calling it runs it."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import ConfigError, parse
from gateway.proxy.errors import BadRequest, GatewayError
from gateway.proxy.events import engine_failure, whole_events
from gateway.proxy.head import read_head, splice_model
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.multipart import ModelField, boundary_of
from gateway.proxy.resume.recording import Recording
from gateway.proxy.resume.rejoin import NotAContinuation
from gateway.proxy.resume.request import closing_events, continuation, with_token_ids
from gateway.proxy.resume.tape import Tape
from gateway.proxy.resume.text import TextTape
from gateway.proxy.routes import Routes
from gateway.telemetry.families import RESUME_OUTCOMES
from tests.fuzz.mutations import damaged, in_reads
from tests.unit.config.samples import EXAMPLE
from tests.unit.proxy.simulated_events import CHAT, COMPLETIONS, events_of_stream, request_body

EVENT_TOKENS = (
    *(b"data: ", b"\n\n", b'"token_ids":[', b'"token_ids":null', b'"prompt_token_ids":[1]', b'"usage":{'),
    *(b'"choices":[],"usage":{', b'"finish_reason":"stop"', b'"text_offset":[', b'"logprobs":{', b"[DONE]"),
    *(
        b": keep-alive\n\n",
        b'data: {"error"',
        b'"delta":{}',
        b'"tool_calls":[{',
        b"\r\n\r\n",
        b"\xef\xbf\xbd",
        b"\\",
        b'"',
    ),
)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.sampled_from([1, 5, 12]),
    "logprobs": st.sampled_from([None, 1]),
    "return_token_ids": st.sampled_from([None, True]),
    "stream_interval": st.sampled_from([1, 3]),
    "n": st.sampled_from([1, 2]),
    "stream_options": st.sampled_from([None, {"include_usage": True, "continuous_usage_stats": True}]),
}


@given(st.data())
def resume(data: st.DataObject) -> None:
    """A damaged stream, and a damaged continuation of it, end in events or a decision, never in a crash."""
    path = data.draw(st.sampled_from([CHAT, COMPLETIONS]))
    options = data.draw(st.fixed_dictionaries(OPTIONS))
    if path == CHAT and options["logprobs"]:
        options["logprobs"] = True
    body = with_token_ids(
        request_body(path, data.draw(st.sampled_from(["hi", "data: [DONE]", '"'])), **options)
    )
    kept = [0]
    tape = _tape(data, kept)
    for created in range(1000, 1000 + data.draw(st.integers(1, 3))):
        stream = b"".join(events_of_stream(path, body, created=created, emoji=True))
        if data.draw(st.booleans()):
            stream = stream.replace(b"\n", b"\r\n")
        stream = data.draw(damaged(stream, EVENT_TOKENS))
        if not _relay(tape, data.draw(in_reads(stream))):
            break
        for decision in (closing_events(body, tape), continuation(path, body, tape)):
            assert isinstance(decision, bytes) or decision in RESUME_OUTCOMES
        if isinstance(tape, Tape) and tape.merged:
            tape.take_back(tape.last_ids(2))
    tape.close()
    assert kept == [0]


def _tape(data: st.DataObject, kept: list[int]) -> Recording:
    def account(change: int) -> bool:
        kept[0] += change
        assert kept[0] >= 0
        return True

    limit = data.draw(st.sampled_from([0, 40, 1 << 20]))
    if data.draw(st.booleans()):
        return TextTape(limit, account)
    return Tape(limit, account, client_asked_for_ids=data.draw(st.booleans()))


def _relay(tape: Recording, reads: list[bytes]) -> bool:
    carry = b""
    for read in reads:
        events, carry = whole_events(carry + read, everything=False)
        engine_failure(events)
        try:
            tape.edit(events)
        except NotAContinuation:
            return False
    return True


BODY = (
    b'{"model": "m\\u00e9", "stream": true, "messages": [{"content": "{\\"model\\": 1}"}], '
    b'"model": "n", "a": 1.5}'
)
JSON_TOKENS = (
    *(b'"model":', b'"mod\\u0065l":', b'"stream":true', b'"x"', b"{", b"}", b"[", b"]", b",", b":", b"null"),
    *(b"NaN", b"\\u0000", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"1e999", b"[" * 2000, b'"' * 3, b"//"),
)


@given(st.data())
def request_head(data: st.DataObject) -> None:
    """What is read of a body is what vLLM reads of it, and a new model name changes nothing else."""
    body = data.draw(damaged(BODY, JSON_TOKENS) | st.binary(max_size=40))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    try:
        head = read_head(body)
    except BadRequest:
        assert not isinstance(document, dict)
        return
    # The strict parser takes nothing that vLLM's does not; it only does not look at what it skips.
    if not isinstance(document, dict):
        return
    assert (head.model, head.stream) == (document.get("model"), document.get("stream"))
    if isinstance(document.get("model"), str):
        try:
            spliced = json.loads(splice_model(body, "other"))
        except BadRequest:
            return
        assert _same(spliced, {**document, "model": "other"})
    assert _same(json.loads(with_token_ids(body)), {**document, "return_token_ids": True})


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)  # NaN is not equal to itself


FORM = (
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n'
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n'
)
FORM_TOKENS = (b"--b", b"\r\n", b"--b--", b'name="model"', b";", b"\r\n\r\n", b"content-disposition:", b"\0")


@given(st.data())
def form_and_headers(data: st.DataObject) -> None:
    """Damaged forms, types, paths and headers are refused or read, whatever they say."""
    try:
        field = ModelField(
            boundary_of("multipart/form-data; boundary=" + data.draw(st.text(max_size=8) | st.just("b")))
        )
        for read in data.draw(in_reads(data.draw(damaged(FORM, FORM_TOKENS)))):
            if field.feed(read):
                break
    except GatewayError:
        pass
    path = data.draw(st.text(st.sampled_from("/v1chatompleinsdzy.%2e\\ ?#:@-_\u00e9"), max_size=30))
    with suppress(GatewayError):
        Routes().find(data.draw(st.sampled_from(["GET", "POST", "HEAD", "PUT"])), "/" + path)
    names = st.sampled_from(
        [b"Connection", b"keep-alive", b"Host", b"X-Forwarded-For", b"TE", b"Content-Length", b"A"]
    )
    raw = data.draw(st.lists(st.tuples(names, st.binary(max_size=12)), max_size=5))
    forwarded = RequestHeaders(tuple(raw)).forwarded
    assert not any(
        line.lower().startswith((b"connection:", b"te:", b"host:")) for line in forwarded.split(b"\r\n")
    )


YAML_TOKENS = (
    *(
        b"\n",
        b"  ",
        b": ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"&a",
        b"*a",
        b"<<: *a",
        b"!!python/object:os",
        b"|",
        b">",
    ),
    *(
        b"replicas:",
        b"models:",
        b"limits:",
        b"launch:",
        b"null",
        b"1e999",
        b"-1",
        b"5s",
        b"1GiB",
        b"'",
        b"\t",
        b"#",
    ),
)


@given(st.data())
def configuration(data: st.DataObject) -> None:
    """Any text is a configuration or one error whose every line says where."""
    text = data.draw(damaged(EXAMPLE.encode(), YAML_TOKENS)).decode("utf-8", "replace")
    told = _problems(text)
    assert all(line.startswith("gateway.yaml") for line in told)


def _problems(text: str) -> list[str]:
    try:
        parse(text, "gateway.yaml")
    except ConfigError as error:
        return str(error).splitlines()
    return []


TARGETS = {
    "resume": resume,
    "request-head": request_head,
    "forms-and-headers": form_and_headers,
    "configuration": configuration,
}
