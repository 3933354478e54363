"""`vllm-gateway serve`: from what was typed to a running gateway and its start-up screen."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import uvloop
from rich.console import Console

from gateway.config import Address, Config, ConfigError, Secrets, from_urls, load, resolve_secrets
from gateway.config.addresses import parse_address
from gateway.config.errors import Invalid
from gateway.control.listening import CannotListen
from gateway.control.plane import ControlPlane, Loaded
from gateway.control.process import Surroundings, control_plane
from gateway.terminal.defaults import TOKEN_ENV
from gateway.terminal.extras import missing_extras
from gateway.terminal.failures import cannot_listen, configuration_errors
from gateway.terminal.start_screen import Front, announce
from gateway.version import VERSION

Overrides = Mapping[str, object]


def serve_file(path: Path, overrides: Overrides) -> None:
    """Serve what a configuration file says, and again when the file changes.

    Raises:
        BadConfiguration: the file, or a secret it names, can't be used.
        Failure: an address can't be listened on.
    """

    def read() -> Loaded:
        return read_file(path, overrides)

    with configuration_errors():
        loaded = read()
    _run(loaded, Surroundings(load=read, watched=path))


def read_file(path: Path, overrides: Overrides) -> Loaded:
    """A configuration file with the secrets it names.

    Raises:
        ConfigError: it, or a secret, can't be used.
    """
    return _with_secrets(load(path, overrides), str(path))


def serve_urls(urls: Sequence[str], overrides: Overrides) -> None:
    """Serve what the servers at these URLs serve. Raises as `serve_file`."""
    # What the other commands send is what this one asks for.
    token = {"admin_token_env": TOKEN_ENV} if TOKEN_ENV in os.environ else {}
    with configuration_errors():
        loaded = _with_secrets(from_urls(urls, **token, **overrides), "command line")
    _run(loaded, Surroundings())


def overrides(
    listen: str | None, admin: str | None, workers: object, access_log: str | None
) -> dict[str, object]:
    """The options of `serve` as the configuration takes them.

    Raises:
        click.UsageError: an address that is none.
    """
    return {
        "listen": address_option("--listen", listen),
        "admin": address_option("--admin", admin),
        "workers": workers,
        "access_log": True if access_log == "-" else access_log,
    }


def front_of(plane: ControlPlane) -> Front:
    """Where a running gateway listens."""
    return Front(VERSION, plane.listen, plane.admin, len(plane.workers()))


def address_option(option: str, value: str | None) -> Address | None:
    """The address that an option gives.

    Raises:
        click.UsageError: it is not an address.
    """
    try:
        return None if value is None else parse_address(value)
    except Invalid as error:
        raise click.UsageError(f"{option}: {error.message}; {error.hint}.") from None


def log_to_stderr(level: str) -> None:
    """Lines for a log collector, which knows the date; for people, the time of day is what matters."""
    people = sys.stderr.isatty()
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(message)s" if people else "%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S" if people else None,
        force=True,
    )


def _with_secrets(config: Config, source: str) -> Loaded:
    if missing := list(missing_extras(config)):
        raise ConfigError(source, missing)
    secrets: Secrets = resolve_secrets(config, os.environ, lambda file: file.read_text("utf-8"), source)
    return Loaded(config, secrets)


def _run(loaded: Loaded, around: Surroundings) -> None:
    log_to_stderr(loaded.config.log_level)
    console = Console()
    run_or_say(loaded.config, lambda: uvloop.run(_serve(loaded, around, console)))


def run_or_say(config: Config, run: Callable[[], None]) -> None:
    """Run a gateway of this configuration; an address that can't be listened on becomes one sentence.

    Raises:
        Failure: with that sentence.
    """
    try:
        run()
    except CannotListen as error:
        option = "--listen" if error.address == config.listen else "--admin"
        raise cannot_listen(error.address, error, option) from None


async def _serve(loaded: Loaded, around: Surroundings, console: Console) -> None:
    async with control_plane(loaded, around) as plane:
        await plane.serve(lambda: announce(console, front_of(plane), plane))
