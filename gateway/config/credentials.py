"""Secrets named by the configuration, fetched on explicit request and never printed.

Does no reading itself: the environment and the file reader come in as arguments.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config.errors import ConfigError, Invalid, KeyPath, Problem
from gateway.config.schema import Config


@dataclass(frozen=True, slots=True)
class Secrets:
    """The admin token, and the replicas' API keys by the name of their environment variable."""

    admin_token: str | None = field(default=None, repr=False)
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)


def resolve_secrets(
    config: Config,
    environ: Mapping[str, str],
    read_file: Callable[[Path], str],
    source: str = "configuration",
) -> Secrets:
    """Look up every secret the configuration names.

    `read_file` may raise OSError or UnicodeDecodeError. White space around a secret is dropped: files end in
    a newline.

    Raises:
        ConfigError: a variable or file is missing, empty, or holds what can't be sent in a header.
    """
    problems: list[Problem] = []
    api_keys: dict[str, str] = {}
    admin_token: str | None = None
    for name, path in _key_names(config):
        try:
            api_keys[name] = _from_environment(environ, name)
        except Invalid as error:
            problems.append(Problem(path, None, error.message, error.hint))
    try:
        admin_token = _admin_token(config, environ, read_file)
    except Invalid as error:
        path = ("admin_token_env",) if config.admin_token_env is not None else ("admin_token_file",)
        problems.append(Problem(path, None, error.message, error.hint))
    if problems:
        raise ConfigError(source, problems)
    return Secrets(admin_token, api_keys)


def _key_names(config: Config) -> Iterator[tuple[str, KeyPath]]:
    if config.defaults.api_key_env is not None:
        yield config.defaults.api_key_env, ("defaults", "api_key_env")
    for index, replica in enumerate(config.replicas):
        if replica.api_key_env is not None:
            yield replica.api_key_env, ("replicas", index, "api_key_env")
    for name, model in config.models.items():
        if model.api_key_env is not None:
            yield model.api_key_env, ("models", name, "api_key_env")
        for index, replica in enumerate(model.replicas):
            if replica.api_key_env is not None:
                yield replica.api_key_env, ("models", name, "replicas", index, "api_key_env")


def _admin_token(config: Config, environ: Mapping[str, str], read_file: Callable[[Path], str]) -> str | None:
    if config.admin_token_env is not None:
        return _from_environment(environ, config.admin_token_env)
    if config.admin_token_file is None:
        return None
    name = str(config.admin_token_file)
    try:
        text = read_file(config.admin_token_file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Invalid(f"the file {name} can't be read: {reason}") from None
    except UnicodeDecodeError:
        raise Invalid(f"the file {name} is not text") from None
    return _usable(text, f"the file {name}")


def _from_environment(environ: Mapping[str, str], name: str) -> str:
    if name not in environ:
        raise Invalid(f"the environment variable {name} is not set")
    return _usable(environ[name], f"the environment variable {name}")


def _usable(secret: str, where: str) -> str:
    secret = secret.strip()
    if not secret:
        raise Invalid(f"{where} is empty")
    if not (secret.isascii() and secret.isprintable()):
        raise Invalid(f"{where} holds characters that can't be sent in a header")
    return secret
