"""The commands that ask a running gateway: `status`, `drain`, `undrain`."""

import os
import sys
import time
from contextlib import suppress

import click
from rich.console import Console
from rich.live import Live

from gateway.config.addresses import parse_address
from gateway.config.errors import Invalid
from gateway.terminal.admin_client import AdminClient
from gateway.terminal.status_screen import status_screen
from gateway.terminal.wording import plural

REFRESH_S = 2.0
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
    screen = status_screen(client.status())
    if not watch:
        console.print(screen)
        return
    with suppress(KeyboardInterrupt), Live(screen, console=console, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_S)
            live.update(status_screen(client.status()), refresh=True)


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
