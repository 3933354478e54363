"""Leaving out parts of a document, and finding what is left in the whole."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.document import Document, original_path, without
from gateway.config.errors import KeyPath

PLAIN = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def paths_in(data: object, at: KeyPath = ()) -> list[tuple[KeyPath, object]]:
    entries: list[tuple[str | int, object]] = []
    if isinstance(data, dict):
        entries = list(data.items())
    elif isinstance(data, list):
        entries = list(enumerate(data))
    return [(at, data), *(found for key, item in entries for found in paths_in(item, (*at, key)))]


def test_later_items_move_up_and_are_found_again() -> None:
    data = {"replicas": ["a", "bad", "c", {"url": "bad", "weight": 1}]}
    unwanted = frozenset({("replicas", 1), ("replicas", 3, "url")})
    assert without(data, unwanted) == {"replicas": ["a", "c", {"weight": 1}]}
    assert original_path(("replicas", 2, "weight"), unwanted) == ("replicas", 3, "weight")


@settings(deadline=None)
@given(PLAIN, st.data())
def test_what_is_left_is_found_at_its_original_path(data: object, draw: st.DataObject) -> None:
    everything = dict(paths_in(data))
    inner = [path for path in everything if path]
    unwanted = draw.draw(st.frozensets(st.sampled_from(inner), max_size=3)) if inner else frozenset()
    left = without(data, unwanted)
    for path, value in paths_in(left):
        original = original_path(path, unwanted)
        assert original not in unwanted
        assert without(everything[original], unwanted, original) == value


def test_the_line_of_a_missing_key_is_that_of_its_section() -> None:
    document = Document({"a": {"b": 1}}, {("a",): 3, ("a", "b"): 4})
    assert document.line(("a", "b")) == 4
    assert document.line(("a", "missing", "deeper")) == 3
    assert document.line(("other",)) is None
    assert document.line(()) is None


def test_the_innermost_part_of_a_path_is_what_the_data_has() -> None:
    document = Document({"a": [{"b": 1}]})
    assert document.innermost(("a", 0, "b")) == ("a", 0, "b")
    assert document.innermost(("a", 0, "missing")) == ("a", 0)
    assert document.innermost(("a", 1, "b")) == ("a",)
    assert document.innermost(("a", "b")) == ("a",)
    assert document.innermost(("a", 0, "b", "c")) == ("a", 0, "b")
    assert document.innermost(("x",)) == ()
