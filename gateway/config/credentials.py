"""Secrets named by the configuration, fetched on explicit request and never printed.

Does no reading itself: the environment and the file reader come in as arguments.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config.errors import ConfigError, Invalid, KeyPath, Problem
from gateway.config.schema import Config

COMMENT = "#"
"""Begins a line of a file of client keys that is no key."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The admin token, the replicas' API keys by the name of their variable, and the clients' keys."""

    admin_token: str | None = field(default=None, repr=False)
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where secrets are kept. What is found there is never part of a message."""

    environ: Mapping[str, str]
    read_file: Callable[[Path], str]

    def variable(self, name: str) -> str:
        """Raises `Invalid`."""
        if name not in self.environ:
            raise Invalid(f"the environment variable {name} is not set")
        return self.environ[name]

    def file(self, path: Path) -> str:
        """Raises `Invalid`."""
        try:
            return self.read_file(path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Invalid(f"the file {path} can't be read: {reason}") from None
        except UnicodeDecodeError:
            raise Invalid(f"the file {path} is not text") from None


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
    places = _Places(environ, read_file)
    problems: list[Problem] = []
    api_keys: dict[str, str] = {}
    admin_token: str | None = None
    client_keys: tuple[str, ...] = ()
    for name, path in _key_names(config):
        try:
            api_keys[name] = _usable(places.variable(name), f"the environment variable {name}")
        except Invalid as error:
            problems.append(Problem(path, None, error.message, error.hint))
    try:
        admin_token = _admin_token(config, places)
    except Invalid as error:
        key = "admin_token_env" if config.admin_token_env is not None else "admin_token_file"
        problems.append(Problem((key,), None, error.message, error.hint))
    try:
        client_keys = _client_keys(config, places)
    except Invalid as error:
        key = "client_keys_env" if config.client_keys_env is not None else "client_keys_file"
        problems.append(Problem((key,), None, error.message, error.hint))
    if problems:
        raise ConfigError(source, problems)
    return Secrets(admin_token, api_keys, client_keys)


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


def _admin_token(config: Config, places: _Places) -> str | None:
    if (name := config.admin_token_env) is not None:
        return _usable(places.variable(name), f"the environment variable {name}")
    if (path := config.admin_token_file) is not None:
        return _usable(places.file(path), f"the file {path}")
    return None


def _client_keys(config: Config, places: _Places) -> tuple[str, ...]:
    if (name := config.client_keys_env) is not None:
        keys = places.variable(name).replace(",", "\n").splitlines()
        return _all_usable(keys, f"the environment variable {name}")
    if (path := config.client_keys_file) is not None:
        lines = places.file(path).splitlines()
        return _all_usable(
            [line for line in lines if not line.lstrip().startswith(COMMENT)], f"the file {path}"
        )
    return ()


def _all_usable(keys: list[str], where: str) -> tuple[str, ...]:
    """The keys, each once. None at all is an error: it would let everybody in."""
    given = dict.fromkeys(key.strip() for key in keys if key.strip())
    if not given:
        raise Invalid(f"{where} holds no key")
    for key in given:
        if " " in _usable(key, where):
            raise Invalid(f"{where} holds a key with a space in it", "one key a line")
    return tuple(given)


def _usable(secret: str, where: str) -> str:
    secret = secret.strip()
    if not secret:
        raise Invalid(f"{where} is empty")
    if not (secret.isascii() and secret.isprintable()):
        raise Invalid(f"{where} holds characters that can't be sent in a header")
    return secret
