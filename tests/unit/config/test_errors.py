"""How problems read."""

import pytest

from gateway.config.errors import ConfigError, Problem, dotted, shown


def test_a_problem_is_one_line_with_its_place_and_what_would_be_right() -> None:
    path = ("models", "qwen", "timeouts", "idle")
    problem = Problem(path, 12, "'12x' is not a duration", "write 30s, 5m or 500ms")
    assert problem.render("gateway.yaml") == (
        "gateway.yaml:12: models.qwen.timeouts.idle: '12x' is not a duration (write 30s, 5m or 500ms)"
    )


def test_a_problem_without_line_and_key_is_about_the_whole_source() -> None:
    assert Problem((), None, "is empty").render("gateway.yaml") == "gateway.yaml: is empty"


def test_an_error_lists_its_problems_by_line() -> None:
    error = ConfigError(
        "g", [Problem(("b",), 9, "late"), Problem(("a",), 2, "early"), Problem((), None, "all")]
    )
    assert str(error) == "g: all\ng:2: a: early\ng:9: b: late"
    assert [problem.line for problem in error.problems] == [None, 2, 9]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("replicas", 1, "url"), "replicas[1].url"),
        (("models", "org/qwen_3-8b", "aliases", 0), "models.org/qwen_3-8b.aliases[0]"),
        (("models", "qwen2.5", "limits"), 'models."qwen2.5".limits'),
        (("models", "a\nb"), 'models."a\\nb"'),
        (("", "x"), '"".x'),
    ],
)
def test_a_key_path_reads_as_people_write_it(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "an empty value"),
        (True, "true"),
        (False, "false"),
        ({}, "a section"),
        ([1], "a list"),
        ((), "a list"),
        (1.5, "1.5"),
        ("a\x00\ud800", "'a\\x00\\ud800'"),
        ("x" * 58, f"'{'x' * 58}'"),
        ("x" * 59, f"'{'x' * 55}...'"),
    ],
)
def test_a_value_is_repeated_in_yaml_words_and_shortened(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_number_too_long_to_print_is_described() -> None:
    assert shown(10**5000) == "a very large number"
