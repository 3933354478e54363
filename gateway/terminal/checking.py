"""`vllm-gateway check`."""

import os
from pathlib import Path

import click

from gateway.config import ConfigError, load, resolve_secrets
from gateway.terminal.config_summary import summary
from gateway.terminal.failures import configuration_errors


def check_file(path: Path) -> None:
    """Print what the file says. Secrets that are not there now are notes: the gateway may run elsewhere.

    Raises:
        BadConfiguration: with every problem of the file.
    """
    with configuration_errors():
        config = load(path)
    for line in summary(str(path), config):
        click.echo(line)
    try:
        resolve_secrets(config, os.environ, lambda file: file.read_text("utf-8"), str(path))
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"note: {problem.render(str(path))}; serving needs it.")
