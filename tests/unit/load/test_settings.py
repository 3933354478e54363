"""What a load takes from its environment."""

from pathlib import Path

import pytest

from loadtests.llm.settings import SettingError, Settings, from_environment


def test_without_variables_the_defaults_hold() -> None:
    assert from_environment({"PATH": "/bin", "HOME": "/"}) == Settings()


def test_each_sort_of_value_is_read() -> None:
    read = from_environment(
        {
            "LOADTEST_PROFILE": "rag",
            "LOADTEST_TARGET_S": "2.5",
            "LOADTEST_MODELS": "qwen3-8b, sql ,",
            "LOADTEST_REPORTS": "/tmp/reports",
        }
    )
    assert (read.profile, read.target_s, read.models) == ("rag", 2.5, ("qwen3-8b", "sql"))
    assert read.reports == Path("/tmp/reports")


def test_an_empty_variable_counts_as_none() -> None:
    """`make load` passes on what it was not given."""
    assert from_environment({"LOADTEST_ARRIVAL": "", "LOADTEST_TARGET_S": ""}) == Settings()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LOADTEST_TARGET_S": "soon"}, "LOADTEST_TARGET_S=soon is not a number."),
        ({"LOADTEST_TARGET_S": "-1"}, "LOADTEST_TARGET_S=-1 is not a time above 0."),
        ({"LOADTEST_TARGET_S": "nan"}, "LOADTEST_TARGET_S=nan is not a time above 0."),
        ({"LOADTEST_USERS": "9"}, "LOADTEST_USERS is not a setting; there are LOADTEST_API_KEY, "),
    ],
)
def test_a_value_that_can_not_be_used_is_one_sentence(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        from_environment(environ)
    assert str(caught.value).startswith(message)
