"""The load's knobs."""

import pytest

from loadtests.llm.settings import SettingError, Settings, from_environment


def test_without_variables_the_defaults_hold() -> None:
    assert from_environment({"PATH": "/bin", "HOME": "/"}) == Settings()


def test_each_kind_of_value_is_read() -> None:
    read = from_environment(
        {
            "LOADTEST_HOST": "http://10.0.0.1:8000",
            "LOADTEST_CHAT_WEIGHT": "3",
            "LOADTEST_THINK_MAX_S": "2.5",
            "LOADTEST_EMBEDDING_MODELS": "bge-m3, e5 ,",
        }
    )
    assert (read.host, read.chat_weight, read.think_max_s) == ("http://10.0.0.1:8000", 3, 2.5)
    assert read.embedding_models == ("bge-m3", "e5")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LOADTEST_TURNS": "many"}, "LOADTEST_TURNS=many is not a number"),
        ({"LOADTEST_TURNS": "1.5"}, "LOADTEST_TURNS=1.5 is not a number"),
        ({"LOADTEST_THINK_MIN_S": "-1"}, "LOADTEST_THINK_MIN_S=-1 is negative"),
        ({"LOADTEST_THINK_MIN_S": "9"}, "LOADTEST_THINK_MIN_S is above LOADTEST_THINK_MAX_S"),
        ({"LOADTEST_TOKENS_MIN": "0"}, "LOADTEST_TOKENS_MIN has to be at least 1"),
        ({"LOADTEST_USERS": "9"}, "LOADTEST_USERS is not a setting; there are LOADTEST_ADAPTER_WEIGHT, "),
    ],
)
def test_a_value_that_can_not_be_used_is_one_sentence(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        from_environment(environ)
    assert str(caught.value).startswith(message)
