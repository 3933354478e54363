"""Reading a request body agrees with `json.loads`, and splicing changes nothing but the model."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.proxy.errors import BadRequest
from gateway.proxy.head import read_head, splice_model

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(['"model":', "model", "{", "\\"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["model", "a", '"']), inner, max_size=3)
    ),
    max_leaves=12,
)
KEYS = (
    st.sampled_from(["model", "stream", "priority", "Model", "messages", 'mo"del', "modèle", "x", ""])
    | st.text()
)


def spelled(text: str, style: int) -> str:
    """A JSON string with its characters as they are, escaped where they are not ASCII, or all escaped."""
    if style == 2:
        units = text.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=bool(style))


SPACE = st.sampled_from(["", " ", "\n\t", "\r\n  "])


def pairs(keys: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """A key and its value in any spelling, with space between."""

    def written(key: str, value: Any, style: int, space: str) -> str:
        text = spelled(value, style) if isinstance(value, str) else json.dumps(value)
        return f"{space}{spelled(key, (style + 1) % 3)}{space}:{space}{text}{space}"

    return st.builds(written, keys, values, st.integers(0, 2), SPACE)


def objects(members: st.SearchStrategy[list[str]]) -> st.SearchStrategy[str]:
    return st.builds(lambda members, space: space + "{" + ",".join(members) + "}" + space, members, SPACE)


# Objects with keys in any order, any number of times; the second kind ends with a model that is a text.
DOCUMENTS = objects(st.lists(pairs(KEYS, VALUES), max_size=5))
NAMED = objects(
    st.builds(
        lambda before, model, after: [*before, model, *after],
        st.lists(pairs(KEYS, VALUES), max_size=4),
        pairs(st.just("model"), st.text()),
        st.lists(pairs(KEYS.filter(lambda key: key != "model"), VALUES), max_size=2),
    )
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])


def encoded(document: str, encoding: str) -> bytes:
    try:
        return document.encode(encoding)
    except UnicodeEncodeError:  # a lone surrogate, not escaped: no client can send that
        return document.encode(encoding, "replace")


def shared(a: bytes, b: bytes) -> int:
    """How many bytes at the beginning are equal."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)  # NaN is not equal to itself


@settings(max_examples=200)
@given(DOCUMENTS, ENCODINGS)
@example('{"model":"a","model":"b"}', "utf-8")
@example('{"\\ud800":1,"mode\\u006c":"\\ud800"}', "utf-8")
@example('{"model":NaN}', "utf-8")
@example('{"model":1e999}', "utf-8")
def test_the_head_is_what_json_loads_reads(document: str, encoding: str) -> None:
    body = encoded(document, encoding)
    expected = json.loads(body)
    head = read_head(body)
    for field in ("model", "stream", "priority"):
        assert same(getattr(head, field), expected.get(field))


@settings(max_examples=200)
@given(NAMED, st.sampled_from(["utf-8", "utf-8-sig"]), st.text(st.characters(exclude_categories=["Cs"])))
@example('{"\\ud800":"x","model":"a"}', "utf-8", "b")
@example('{"model":{"model":"x"},"a":"\\"model\\":","model":"a"}', "utf-8", "b")
def test_splicing_changes_the_model_and_nothing_else(document: str, encoding: str, name: str) -> None:
    body = encoded(document, encoding)
    expected = json.loads(body)
    spliced = splice_model(body, name)
    expected["model"] = name
    assert same(json.loads(spliced), expected)
    start, end = shared(body, spliced), shared(body[::-1], spliced[::-1])
    # What differs lies within one string: quotes, commas and brackets around it are the client's.
    assert len(body) - start - end <= len(spelled(json.loads(body)["model"], 2))


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (b'{"model":"a", "x":1.0}', b'{"model":"b", "x":1.0}'),
        (
            b'{ "x" : {"model":"a"} , "mod\\u0065l"\n:\t"a" }',
            b'{ "x" : {"model":"a"} , "mod\\u0065l"\n:\t"b" }',
        ),
        (b'{"model":"a","model":"a","y":[{"model":"a"}]}', b'{"model":"a","model":"b","y":[{"model":"a"}]}'),
        (b'\xef\xbb\xbf{"model":"a"}', b'\xef\xbb\xbf{"model":"b"}'),
        (b'{"a":"model","model":"a\\"}{","z":"model"}', b'{"a":"model","model":"b","z":"model"}'),
    ],
)
def test_all_other_bytes_stay_where_they_are(body: bytes, spliced: bytes) -> None:
    assert splice_model(body, "b") == spliced


@pytest.mark.parametrize("key", [b"\xff\\n", b"\\ud800", b"\xff"])
def test_a_key_that_is_no_text_is_not_the_model(key: bytes) -> None:
    body = b'{"model":"a","' + key + b'":"x"}'
    assert splice_model(body, "b") == b'{"model":"b","' + key + b'":"x"}'


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_an_alias_in_a_body_that_is_not_utf_8_is_refused_and_not_spliced(encoding: str) -> None:
    # In UTF-16 these characters are the bytes of `"model":"x"`.
    text = b'{ "model":"x" }\x20'.decode("utf-16-le")
    for document in ('{"model":"a"}', '{"\\n":"x","model":"a"}', f'{{"model":"a","b":"{text}"}}'):
        with pytest.raises(BadRequest):
            splice_model(document.encode(encoding), "b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"model"',
        b"null",
        b"{",
        b'{"model":"\x80"}',
        b'{"model":"\xc3\xa9\\u00e9\x80"}',
        b'{"model":"a"} x',
        b"\xff\xfe",
        b"{'model':1}",
        b'{"a":01}',
        b"7",
    ],
)
def test_what_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_head(body)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"]
)
def test_a_deeply_nested_body_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_head(body)


@given(st.binary(max_size=60) | st.from_regex(rb'\{"mod(el|\\u0065l)":[^x]{0,20}\}', fullmatch=True))
def test_no_bytes_do_anything_but_be_read_or_be_refused(body: bytes) -> None:
    try:
        head = read_head(body)
        name = head.model_name
    except BadRequest:
        return
    if name is not None:
        try:
            spliced = splice_model(body, "b")
        except BadRequest:
            return
        assert read_head(spliced).model == "b"


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"{}", None), (b'{"model":null}', None), (b'{"model":""}', None), (b'{"model":"m"}', "m")],
)
def test_a_missing_or_empty_name_means_the_base_model(body: bytes, name: str | None) -> None:
    assert read_head(body).model_name == name


@pytest.mark.parametrize("value", [b"1", b"true", b"[]", b'{"model":"m"}', b"false", b"0", b"NaN"])
def test_a_model_that_is_no_string_is_a_bad_request_of_that_field(value: bytes) -> None:
    head = read_head(b'{"model":' + value + b"}")
    with pytest.raises(BadRequest) as refusal:
        _ = head.model_name
    assert refusal.value.param == "body.model"


def test_a_long_string_is_skipped_without_memory_for_each_character() -> None:
    # A pattern that could step back took 150 bytes for each byte of an image.
    body = b'{"image":"' + b"QUJD" * 500_000 + b'","model":"a"}'
    tracemalloc.start()
    spliced = splice_model(body, "b")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spliced.endswith(b'","model":"b"}')
    assert peak < 5 * len(body)
