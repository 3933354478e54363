"""`vllm-gateway check`."""

import json
import os
from pathlib import Path

import click

from gateway.config import ConfigError, json_schema, load, resolve_secrets
from gateway.terminal.config_summary import summary
from gateway.terminal.extras import missing_extras
from gateway.terminal.failures import configuration_errors


def check_file(path: Path) -> None:
    """Print what the file says. What is not there on this machine is a note: the gateway may run elsewhere.

    Raises:
        BadConfiguration: with every problem of the file.
    """
    with configuration_errors():
        config = load(path)
    for line in summary(str(path), config):
        click.echo(line)
    problems = list(missing_extras(config))
    try:
        resolve_secrets(config, os.environ, lambda file: file.read_text("utf-8"), str(path))
    except ConfigError as error:
        problems += error.problems
    for problem in problems:
        click.echo(f"note: {problem.render(str(path))}; serving needs it.")


def print_schema() -> None:
    """Print the schema of the configuration."""
    click.echo(json.dumps(json_schema(), indent=2))
