"""The model field of an upload, wherever it stands and however the body is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.errors import BadRequest
from gateway.proxy.multipart import NAME_LIMIT_BYTES, PART_HEAD_LIMIT_BYTES, ModelField, boundary_of

BOUNDARY = b"--xyz"


def part(disposition: str, content: bytes) -> bytes:
    return (
        b"--xyz\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    )


FILE = part('name="file"; filename="model.wav"', b'RIFF\r\n\r\nname="model"\r\n--xy\r\n--' + b"\0" * 50)
MODEL = part('name="model"', b"whisper")
END = b"--xyz--\r\n"


def fed(body: bytes, cuts: list[int]) -> ModelField:
    """The field after the body arrived cut at these places; stops where the field is found."""
    field = ModelField(BOUNDARY)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        if field.feed(body[start:end]):
            break
    return field


@pytest.mark.parametrize(
    "body", [MODEL + FILE + END, FILE + MODEL + END, MODEL + END], ids=["first", "last", "alone"]
)
@given(cuts=st.lists(st.integers(0, 1000), max_size=8))
def test_the_field_is_found_wherever_it_stands_and_however_the_body_is_cut(
    body: bytes, cuts: list[int]
) -> None:
    field = fed(body, cuts)
    assert field.name == "whisper"
    assert field.span is not None
    assert body[slice(*field.span)] == b"whisper"
    assert body.startswith(field.body)


def test_a_body_that_comes_byte_by_byte_is_read_no_further_than_the_field() -> None:
    body = FILE + MODEL + FILE + END
    field = fed(body, list(range(len(body))))
    assert field.body == body[: body.index(b"whisper") + len(b"whisper\r\n--xyz")]


def test_splicing_changes_the_name_and_nothing_else() -> None:
    field = fed(FILE + MODEL + END, [])
    assert field.spliced("wh-2é") + END == (FILE + MODEL + END).replace(b"whisper", "wh-2é".encode()) + END


def test_nothing_can_be_spliced_where_there_is_no_field() -> None:
    with pytest.raises(ValueError, match="not found"):
        fed(FILE + END, []).spliced("x")


@pytest.mark.parametrize(
    "disposition",
    ["name=model", 'name="model" ; x=y', 'x=y; name="model"', 'NAME="model"', 'name="model"; filename="a"'],
)
def test_the_field_s_name_may_be_written_in_any_of_these_ways(disposition: str) -> None:
    assert fed(part(disposition, b"m") + END, []).name == "m"


@pytest.mark.parametrize(
    "disposition",
    [
        'name="models"',
        'name="my-model"',
        'name="file"; filename="model"',
        'filename="name=model"; name="x"',
        "name=",
    ],
)
def test_no_other_field_is_taken_for_it(disposition: str) -> None:
    assert fed(part(disposition, b"m") + END, []).name is None


def test_a_body_without_the_field_has_no_name() -> None:
    field = fed(FILE + END, [10, 20])
    assert (field.name, field.span) == (None, None)
    assert field.body == FILE + END


def test_a_name_that_is_no_text_is_still_a_name_nobody_knows() -> None:
    assert fed(part('name="model"', b"\xff\xfe") + END, []).name == "��"


def test_a_name_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    field = ModelField(BOUNDARY)
    field.feed(MODEL[:-2])
    with pytest.raises(BadRequest):
        field.feed(b"x" * (NAME_LIMIT_BYTES + 1))


def test_part_headers_without_an_end_are_refused_before_they_are_searched_again_and_again() -> None:
    field = ModelField(BOUNDARY)
    field.feed(b"--xyz\r\nX: ")
    with pytest.raises(BadRequest):
        field.feed(b"x" * (PART_HEAD_LIMIT_BYTES + 1))


def test_a_long_file_is_searched_once() -> None:
    field = ModelField(BOUNDARY)
    field.feed(part('name="file"', b"")[:-2])
    for _ in range(100):
        assert not field.feed(b"\0" * 10_000)
        assert field._from >= len(field.body) - len(BOUNDARY)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"--abc"),
        ('multipart/form-data; boundary="a b;c"', b"--a b;c"),
        ("multipart/form-data; charset=x; BOUNDARY=abc", b"--abc"),
    ],
)
def test_the_boundary_is_taken_from_the_content_type(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary*=utf-8''abc"],
)
def test_a_body_without_a_boundary_is_a_bad_request(content_type: str) -> None:
    with pytest.raises(BadRequest):
        boundary_of(content_type)
