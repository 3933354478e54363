"""The command."""

import sys

import click
import uvloop
from rich.console import Console

from tests.chaos.report import show
from tests.chaos.storm import Plan, storm

DEFAULT = Plan()


@click.command()
@click.option("--seed", default=DEFAULT.seed, show_default=True, help="Order of faults and requests.")
@click.option("--requests", default=DEFAULT.requests, show_default=True, help="At least so many.")
@click.option(
    "--faults", default=DEFAULT.faults, show_default=True, help="Exactly so many, and some workers killed."
)
@click.option("--workers", default=DEFAULT.workers, show_default=True)
@click.option("--replicas", default=DEFAULT.replicas, show_default=True, help="Of each of the two models.")
@click.option("--clients", default=DEFAULT.clients, show_default=True, help="Requests at a time.")
def main(**options: int) -> None:
    """Break replicas under load and account for every request."""
    outcome = uvloop.run(storm(Plan(**options)))
    show(outcome, Console(width=160))
    sys.exit(bool(outcome.findings))


if __name__ == "__main__":
    main()
