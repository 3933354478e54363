"""The command: one target after another, for as long as it is told."""

import sys
import time

import click
from hypothesis import HealthCheck, Phase, settings

from tests.fuzz.targets import TARGETS

ROUND = 500


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--only", type=click.Choice(sorted(TARGETS)), help="One target instead of all in turn.")
def main(minutes: float, only: str | None) -> None:
    """Look for input that breaks what reads it; exits 1 with the smallest one."""
    limits = settings(
        max_examples=ROUND,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
        print_blob=True,
    )
    targets = {name: limits(target) for name, target in TARGETS.items() if only in (None, name)}
    rounds = 0
    ends = time.monotonic() + minutes * 60
    while time.monotonic() < ends:
        for target in targets.values():
            target()
        rounds += 1
        click.echo(f"\r{rounds * ROUND} examples of each of {', '.join(targets)}", nl=False)
    click.echo("\nnothing broke")
    sys.exit(0)


if __name__ == "__main__":
    main()
