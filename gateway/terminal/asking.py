"""The commands that ask a running gateway: `status`, `drain`, `undrain`."""

import os
import sys

import click
from rich.console import Console

from gateway.config.addresses import parse_address
from gateway.config.errors import Invalid
from gateway.terminal.admin_client import AdminClient
from gateway.terminal.status_screen import status_screen
from gateway.terminal.watching import watch as keep_watching
from gateway.terminal.wording import plural

WIDTH_WITHOUT_TERMINAL = 200


def client_of(admin: str, token_env: str) -> AdminClient:
    """The admin listener that the options name.

    Raises:
        click.UsageError: it is not an address.
    """
    try:
        address = parse_address(admin)
    except Invalid as error:
        raise click.UsageError(f"--admin: {error.message}; {error.hint}.") from None
    return AdminClient(address, os.environ.get(token_env))


def show_status(client: AdminClient, *, as_json: bool, watch: bool) -> None:
    """Print the status once, or again and again."""
    if as_json:
        click.echo(client.status_json())
        return
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH_WITHOUT_TERMINAL)
    if watch:
        keep_watching(client, console)
    else:
        console.print(status_screen(client.status(), width=console.width))


def set_draining(client: AdminClient, replica: str, *, draining: bool) -> None:
    """Start or end a drain and say what that means now."""
    answer = client.drain(replica if "://" in replica else f"http://{replica}", draining=draining)
    if not answer.draining:
        click.echo(f"{answer.replica} takes requests again.")
    elif answer.outstanding:
        click.echo(
            f"{answer.replica} gets no new requests; {plural(answer.outstanding, 'request')} still run."
        )
    else:
        click.echo(f"{answer.replica} gets no new requests and is empty.")
