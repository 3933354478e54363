"""Secrets are fetched by name, checked, and never shown."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Secrets, parse, resolve_secrets

CONFIG = parse(
    """
    admin_token_env: TOKEN
    replicas: [{url: http://x, api_key_env: X}]
    defaults: {api_key_env: D}
    models: {m: {api_key_env: M, replicas: [{url: http://y, api_key_env: Y}, http://z]}}
    """,
    "g",
)
FROM_FILE = parse("replicas: [http://x]\nadmin_token_file: /run/token", "g")
ENVIRON = {"TOKEN": "t", "X": "x", "D": "d", "M": "m", "Y": "y", "OTHER": "o"}


def unread(path: Path) -> str:
    raise AssertionError(path)


def refused(config: Config, environ: dict[str, str], content: str | Exception = "") -> str:
    def read(_: Path) -> str:
        if isinstance(content, Exception):
            raise content
        return content

    with pytest.raises(ConfigError) as caught:
        resolve_secrets(config, environ, read)
    return str(caught.value)


def test_keys_may_be_named_for_some_replicas_only() -> None:
    config = parse("models: {m: {replicas: [{url: http://y, api_key_env: Y}, http://z]}}", "g")
    assert resolve_secrets(config, ENVIRON, unread) == Secrets(None, {"Y": "y"})


def test_every_named_variable_is_looked_up_and_no_other() -> None:
    assert resolve_secrets(CONFIG, ENVIRON, unread) == Secrets("t", {"X": "x", "D": "d", "M": "m", "Y": "y"})


def test_without_names_there_are_no_secrets() -> None:
    assert resolve_secrets(parse("replicas: [http://x]", "g"), ENVIRON, unread) == Secrets(None, {})


def test_the_admin_token_can_come_from_a_file() -> None:
    assert resolve_secrets(FROM_FILE, {}, lambda path: f"from {path}\n").admin_token == "from /run/token"


def test_all_missing_variables_are_reported_with_the_key_that_names_them() -> None:
    assert refused(CONFIG, {}).splitlines() == [
        "configuration: defaults.api_key_env: the environment variable D is not set",
        "configuration: replicas[0].api_key_env: the environment variable X is not set",
        "configuration: models.m.api_key_env: the environment variable M is not set",
        "configuration: models.m.replicas[0].api_key_env: the environment variable Y is not set",
        "configuration: admin_token_env: the environment variable TOKEN is not set",
    ]


def test_an_empty_variable_is_not_a_key() -> None:
    message = refused(CONFIG, {**ENVIRON, "X": " \n"})
    assert message == "configuration: replicas[0].api_key_env: the environment variable X is empty"


def test_a_key_that_would_break_a_header_is_refused_and_not_shown() -> None:
    message = refused(CONFIG, {**ENVIRON, "X": "sk-1\r\nHost: evil"})
    assert message == (
        "configuration: replicas[0].api_key_env: the environment variable X holds characters"
        " that can't be sent in a header"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FileNotFoundError(2, "No such file or directory"), "can't be read: no such file or directory"),
        (OSError("odd"), "can't be read: odd"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "is not text"),
        ("\n", "is empty"),
    ],
)
def test_a_token_file_that_gives_no_token_is_one_sentence(content: str | Exception, message: str) -> None:
    assert (
        refused(FROM_FILE, {}, content) == f"configuration: admin_token_file: the file /run/token {message}"
    )


def test_secrets_are_not_printed() -> None:
    assert repr(resolve_secrets(CONFIG, ENVIRON, unread)) == "Secrets()"
    assert repr(resolve_secrets(CLIENTS_ENV, {"KEYS": "sk-1"}, unread)) == "Secrets()"


# -- what clients must present --

CLIENTS_ENV = parse("replicas: [http://x]\nclient_keys_env: KEYS", "g")
CLIENTS_FILE = parse("replicas: [http://x]\nclient_keys_file: /run/keys", "g")


@pytest.mark.parametrize("text", ["sk-1,sk-2", "sk-1\nsk-2\n", " sk-1 ,\n, sk-2\r\nsk-1,"])
def test_client_keys_in_a_variable_are_separated_by_commas_or_lines(text: str) -> None:
    assert resolve_secrets(CLIENTS_ENV, {"KEYS": text}, unread).client_keys == ("sk-1", "sk-2")


def test_client_keys_in_a_file_stand_on_lines_with_comments_between_them() -> None:
    content = "# the web shop\nsk-1\n\n  # a notebook\n sk,2 \n"
    assert resolve_secrets(CLIENTS_FILE, {}, lambda _: content).client_keys == ("sk-1", "sk,2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (" ,\n, ", "the environment variable KEYS holds no key"),
        ("sk-1,gehe\x07im", "the environment variable KEYS holds characters that can't be sent in a header"),
        ("sk-1 sk-2", "the environment variable KEYS holds a key with a space in it (one key a line)"),
    ],
)
def test_client_keys_that_can_not_be_used_are_refused_and_not_shown(content: str, message: str) -> None:
    assert refused(CLIENTS_ENV, {"KEYS": content}) == f"configuration: client_keys_env: {message}"


def test_a_file_without_a_key_does_not_let_everybody_in() -> None:
    message = refused(CLIENTS_FILE, {}, "# nobody yet\n")
    assert message == "configuration: client_keys_file: the file /run/keys holds no key"
    assert "can't be read" in refused(CLIENTS_FILE, {}, PermissionError(13, "Permission denied"))


def test_a_variable_of_client_keys_that_is_not_set_is_refused() -> None:
    message = "configuration: client_keys_env: the environment variable KEYS is not set"
    assert refused(CLIENTS_ENV, {}) == message
