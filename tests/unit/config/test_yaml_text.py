"""The text itself: syntax, duplicate keys, tags, and what YAML 1.1 makes of plain words."""

import pytest
import yaml

from gateway.config.errors import ConfigError
from gateway.config.yaml_text import MOST_VALUES, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: b: c",
            (
                "g:1: not valid YAML at column 5: mapping values are not allowed here"
                " (check the indentation, or quote a value that contains ': ')"
            ),
        ),
        (
            "a:\n\tb: 1",
            (
                "g:2: not valid YAML at column 1: found character '\\t' that cannot start any token"
                " (indent with spaces, not tabs)"
            ),
        ),
        (
            "a:\n  - b\n c: 1",
            (
                "g:3: not valid YAML at column 2: expected <block end>, but found '<block mapping start>'"
                " (check the indentation)"
            ),
        ),
        (
            "listen: [::1]:8000",
            (
                "g:1: not valid YAML at column 10: expected the node content, but found ':'"
                ' (put a value such as "[::1]:8000" in quotes)'
            ),
        ),
        ("a: 'b", "g:1: not valid YAML at column 6: found unexpected end of stream (close the quotes)"),
        (
            "a: @b",
            (
                "g:1: not valid YAML at column 4: found character '@' that cannot start any token"
                " (put a value that begins with @, `, %, & or * in quotes)"
            ),
        ),
        (
            "listen: *:8000",
            "g:1: not valid YAML at column 10: expected alphabetic or numeric character, but found ':'",
        ),
        ("a: 1\nb: \x07", "g:2: not valid YAML at column 4: the character U+0007 is not allowed"),
        ("--- a\n--- b", "g:2: not valid YAML at column 1: but found another document"),
        ('a: "\\UFFFFFFFF"', "g: not valid YAML: a character escape is out of range"),
        ("[" * 1000, "g: is nested too deeply"),
        ("a: &x [*x]", "g:1: a: is nested more than 24 levels deep"),
        (
            "a: &a [" + "x," * 400 + "]\nb: &b [" + "*a," * 400 + "]",
            "g:1: has more than 100000 values, aliases expanded",
        ),
    ],
)
def test_text_that_is_no_configuration_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "g")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  a: 2\na: 3", "g:4: a: is given twice, first on line 1 (keep one of them)"),
        ("x:\n  - {k: 1,\n     k: 2}", "g:3: x[0].k: is given twice, first on line 2 (keep one of them)"),
        ("x: {<<: {a: 1}}", "g:1: x: '<<' is not supported (put what models share under 'defaults')"),
        ("x: {[a]: 1}", "g:1: x: a key must be a single word, not a list or a section"),
        ("x: !secret k", "g:1: x: the tag '!secret' is not supported (remove it)"),
        (
            "x: !!python/object/apply:os.system [ls]",
            "g:1: x: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not supported (remove it)",
        ),
        ("x: !!set {a}", "g:1: x: the tag 'tag:yaml.org,2002:set' is not supported (remove it)"),
        ("x: !!bool maybe", "g:1: x: 'maybe' is not true or false"),
        ("x: !!float maybe", "g:1: x: 'maybe' is not a number"),
        ("x: " + "9" * 5000, f"g:1: x: '{'9' * 55}...' is not a number"),
    ],
)
def test_problems_of_the_text_do_not_hide_each_other(text: str, message: str) -> None:
    document = read_yaml(text + "\nlast: [1, 2]", "g")
    assert [problem.render("g") for problem in document.problems] == [message]
    assert document.line(("last", 1)) == text.count("\n") + 2


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("", None),
        ("~", None),
        ("yes", True),
        ("off", False),
        ("12", 12),
        ("-3", -3),
        ("1_000", 1000),
        ("0.5", 0.5),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("2024-01-31", "2024-01-31"),
        ("=", "="),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        (":8000", ":8000"),
        (".inf", float("inf")),
    ],
)
def test_plain_words_are_read_without_the_traps_of_yaml(word: str, value: object) -> None:
    document = read_yaml(f"k: {word}", "g")
    assert document.data == {"k": value}
    assert type(document.data["k"]) is type(value)


def test_keys_stay_as_they_are_written() -> None:
    assert read_yaml("{7: a, 1.50: b, no: c, ~: d}", "g").data == {"7": "a", "1.50": "b", "no": "c", "~": "d"}


def test_every_key_and_item_has_its_line() -> None:
    document = read_yaml("# comment\na:\n  - x\n  - k: 1\n    l: 2\nb: {c: [y,\n  z]}\n", "g")
    assert document.lines == {
        ("a",): 2,
        ("a", 0): 3,
        ("a", 1): 4,
        ("a", 1, "k"): 4,
        ("a", 1, "l"): 5,
        ("b",): 6,
        ("b", "c"): 6,
        ("b", "c", 0): 6,
        ("b", "c", 1): 7,
    }


def test_an_anchor_may_be_used_again() -> None:
    assert read_yaml("a: &t {x: 1}\nb: *t", "g").data == {"a": {"x": 1}, "b": {"x": 1}}


def test_a_long_list_is_no_bomb() -> None:
    document = read_yaml("a: [" + "1," * 5000 + "]", "g")
    assert document.problems == ()
    assert MOST_VALUES > 5000


def test_an_error_of_the_parser_without_a_place_is_still_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise yaml.YAMLError

    monkeypatch.setattr(yaml, "compose", fail)
    with pytest.raises(ConfigError, match=r"^g: not valid YAML$"):
        read_yaml("", "g")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~"])
def test_no_content_is_no_data(text: str) -> None:
    assert read_yaml(text, "g").data is None
