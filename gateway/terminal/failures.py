"""What went wrong, as one sentence and an exit status: 2 for what was typed or configured, 1 for the rest."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from gateway.config import Address, ConfigError
from gateway.terminal.defaults import TRACEBACK_ENV
from gateway.terminal.ports import holder

RUNTIME = 1
USAGE = 2


class Failure(click.ClickException):
    """A command can't do what it was asked; the message is all that is shown."""

    exit_code = RUNTIME


class BadConfiguration(click.ClickException):
    """The configuration can't be used; each problem is a line that begins with its place."""

    exit_code = USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file, err=file is None)


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Turn a `ConfigError` into the lines that a terminal shows."""
    try:
        yield
    except ConfigError as error:
        raise BadConfiguration(str(error)) from None


def unexpected(error: BaseException) -> str:
    """What to say about an error that nobody foresaw: the innermost one, and how to learn more."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"Error: something went wrong that should not ({said}); set {TRACEBACK_ENV}=1 to see where."


def cannot_listen(address: Address, error: OSError, option: str) -> Failure:
    """Why an address can't be listened on, and which option chooses another."""
    if error.errno == errno.EADDRINUSE:
        by = holder(address.port)
        used = f"is in use by {by}" if by else "is in use"
        return Failure(f"{address} {used}; choose another address with {option}.")
    if error.errno == errno.EACCES:
        return Failure(f"{address} needs more rights; choose a port from 1024 up with {option}.")
    reason = (error.strerror or str(error)).lower()
    return Failure(f"{address} can't be listened on: {reason}; choose another address with {option}.")
