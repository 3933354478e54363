"""`vllm-gateway status --watch`: the status screen, again and again."""

import time
from contextlib import suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from gateway.terminal.admin_client import AdminClient
from gateway.terminal.failures import Failure
from gateway.terminal.status_screen import EVENTS_WATCHED, status_screen
from gateway.terminal.wording import duration

REFRESH_S = 1.0


def watch(client: AdminClient, console: Console) -> None:
    """Show the status until Ctrl-C. A gateway that stops answering is waited for.

    Raises:
        Failure: it does not answer at the beginning.
    """
    screen, seen_at = _screen(client, console), time.monotonic()
    live = Live(screen, console=console, auto_refresh=False, screen=console.is_terminal)
    with suppress(KeyboardInterrupt), live:
        live.refresh()
        while True:
            time.sleep(REFRESH_S)
            try:
                screen, seen_at = _screen(client, console), time.monotonic()
            except Failure as failure:
                live.update(_stale(screen, failure, time.monotonic() - seen_at), refresh=True)
            else:
                live.update(screen, refresh=True)


def _screen(client: AdminClient, console: Console) -> RenderableType:
    return status_screen(client.status(), client.history(), events=EVENTS_WATCHED, width=console.width)


def _stale(last: RenderableType, failure: Failure, since_s: float) -> RenderableType:
    words = f"{failure.message} What follows is {duration(max(since_s, 1.0))} old."
    return Group(Text(words, style="bold red"), last)
