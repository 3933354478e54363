"""The commands: names, options, help. What they do lives in `terminal` and `control`.

Imports stand inside the commands, so that `--help` and a mistyped option answer at once.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from gateway.terminal.defaults import ADMIN, TOKEN_ENV, TRACEBACK_ENV
from gateway.version import VERSION

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class InOrder(click.Group):
    """Lists the commands as they stand in this file, the first to try first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Workers(click.ParamType[Any]):
    """`auto`, or how many."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int) or value == "auto":
            return value
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither auto nor a number from 1 up.", param, ctx)
        return int(value)


@click.group(cls=InOrder, context_settings=CONTEXT)
@click.version_option(VERSION, "-V", "--version", message="%(prog)s %(version)s")
def cli() -> None:
    """One front door for many vLLM models.

    \b
    Try it without a GPU:
      vllm-gateway demo
    In front of servers that run:
      vllm-gateway serve http://10.0.0.1:8000 http://10.0.0.2:8000
      vllm-gateway serve -c gateway.yaml
    """


def main() -> None:
    """Entry point of the `vllm-gateway` command."""
    try:
        cli(prog_name="vllm-gateway")
    except Exception as error:  # the root: a defect must not greet people with a traceback
        from gateway.terminal.failures import unexpected

        if TRACEBACK_ENV in os.environ:
            raise
        click.echo(unexpected(error), err=True)
        sys.exit(1)


config_option = click.option(
    "-c", "--config", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file (YAML)."
)


def admin_options(command: Any) -> Any:
    """The options of every command that asks a running gateway."""
    command = click.option(
        "--token-env",
        metavar="NAME",
        default=TOKEN_ENV,
        show_default=True,
        help="Environment variable with the admin token, where one is needed.",
    )(command)
    return click.option(
        "--admin",
        metavar="ADDR",
        default=ADMIN,
        show_default=True,
        help="Admin address of the gateway to ask.",
    )(command)


@cli.command(short_help="Serve in front of running vLLM servers.")
@click.argument("urls", nargs=-1, metavar="[URLS]...")
@config_option
@click.option("--listen", metavar="ADDR", help="Where clients connect.  [default: 127.0.0.1:8000]")
@click.option("--admin", metavar="ADDR", help=f"Metrics, status, drain.  [default: {ADMIN}]")
@click.option("--workers", type=Workers(), help="Worker processes.  [default: one less than the CPUs]")
@click.option("--access-log", metavar="FILE", help="One JSON line a request; - is standard output.")
def serve(urls: tuple[str, ...], config: Path | None, **options: Any) -> None:
    """Serve in front of running vLLM servers.

    Without a configuration file, what each server lists under /v1/models tells which models there are, and
    servers with the same model share its requests. An option given here goes before the file.

    \b
    Examples:
      vllm-gateway serve http://10.0.0.1:8000 http://10.0.0.2:8000
      vllm-gateway serve -c gateway.yaml --workers 4
      vllm-gateway serve http://10.0.0.1:8000 --listen :8080 --access-log -
    """
    from gateway.terminal import serving

    overrides = serving.overrides(**options)
    if config is not None and urls:
        raise click.UsageError("Give URLs or -c FILE, not both.")
    if config is not None:
        serving.serve_file(config, overrides)
    elif urls:
        serving.serve_urls(urls, overrides)
    else:
        raise click.UsageError("Say where the servers are: their URLs, or -c gateway.yaml.")


@cli.command(short_help="See it work: simulated models, no GPU.")
@click.option("--once", is_flag=True, help="End after the first answer.")
def demo(*, once: bool) -> None:
    """See it work without a GPU.

    Starts two simulated models with two replicas each, a LoRA adapter and an embedding model, the gateway in
    front of them, and asks for a first streamed answer. Then it serves until Ctrl-C.
    """
    from gateway.terminal.demo import run_demo

    run_demo(once=once)


@cli.command(short_help="Check a configuration file.")
@config_option
@click.option("--schema", is_flag=True, help="Print every option, its unit and its default, as JSON Schema.")
def check(config: Path | None, *, schema: bool) -> None:
    """Check a configuration file: every error with its line, or a summary.

    \b
    Examples:
      vllm-gateway check -c gateway.yaml
      vllm-gateway check --schema > gateway.schema.json      # for editors
    """
    from gateway.terminal.checking import check_file, print_schema

    if schema:
        print_schema()
        return
    if config is None:
        raise click.UsageError("Say which file to check: -c gateway.yaml")
    check_file(config)


@cli.command(short_help="Compute what fits on which GPU, and the commands.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--shell", "as_shell", is_flag=True, help="Print a script that starts the servers in order.")
def plan(config: Path | None, *, as_json: bool, as_shell: bool) -> None:
    """Compute what fits on which GPU, why, and the commands. Needs no GPU and no vLLM.

    \b
    Examples:
      vllm-gateway plan -c gateway.yaml
      vllm-gateway plan -c gateway.yaml --json | jq '.instances[].gpu_memory_utilization'
    """
    from gateway.terminal.planning import show_plan

    if config is None:
        raise click.UsageError("Say what to plan: -c gateway.yaml")
    if as_json and as_shell:
        raise click.UsageError("Give --json or --shell, not both.")
    show_plan(config, as_json=as_json, as_shell=as_shell)


@cli.command(short_help="Start vLLM servers, and serve in front of them.")
@config_option
def up(config: Path | None) -> None:
    """Start the vLLM servers of a configuration one after the other, and serve in front of them.

    Each gets requests as soon as it answers. One that dies is started again; Ctrl-C ends all of them.

    \b
    Example:
      vllm-gateway up -c gateway.yaml
    """
    from gateway.terminal.launching import launch_file

    if config is None:
        raise click.UsageError("Say what to start: -c gateway.yaml")
    launch_file(config)


@cli.command(short_help="Show what launched servers print.")
@click.argument("model", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with each new line until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=200, show_default=True, metavar="N")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration of the gateway that launched them.  [default: gateway.yaml]",
)
def logs(model: str | None, lines: int, config: Path | None, *, follow: bool) -> None:
    """Show what the servers of a model print, or all that were launched.

    \b
    Example:
      vllm-gateway logs qwen3-32b -f
    """
    from gateway.terminal.log_view import show_logs

    show_logs(model, config, count=lines, follow=follow)


@cli.command(
    short_help="Run a simulated vLLM replica.",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Run a simulated vLLM replica, for trying things out without a GPU.

    \b
    Example:
      vllm-gateway simulate --model demo --port 8001
    """
    from gateway import sim

    raise SystemExit(sim.main(arguments))


@cli.command(short_help="Show pools, replicas and their load.")
@admin_options
@click.option("--json", "as_json", is_flag=True, help="Print the document of GET /api/status.")
@click.option("--watch", is_flag=True, help="Keep the screen up to date until Ctrl-C.")
def status(admin: str, token_env: str, *, as_json: bool, watch: bool) -> None:
    """Show pools, replicas and their load, as a running gateway sees them.

    \b
    Examples:
      vllm-gateway status
      vllm-gateway status --admin 10.0.0.9:9090 --watch
      vllm-gateway status --json | jq '.replicas[].condition'
    """
    from gateway.terminal.asking import client_of, show_status

    if as_json and watch:
        raise click.UsageError("Give --json or --watch, not both.")
    show_status(client_of(admin, token_env), as_json=as_json, watch=watch)


@cli.command(short_help="Send a replica no new requests.")
@click.argument("replica", metavar="URL")
@admin_options
def drain(replica: str, admin: str, token_env: str) -> None:
    """Send a replica no new requests; those that run finish.

    \b
    Example:
      vllm-gateway drain http://10.0.0.1:8000
    """
    from gateway.terminal.asking import client_of, set_draining

    set_draining(client_of(admin, token_env), replica, draining=True)


@cli.command(short_help="Take a drain back.")
@click.argument("replica", metavar="URL")
@admin_options
def undrain(replica: str, admin: str, token_env: str) -> None:
    """Take a drain back.

    \b
    Example:
      vllm-gateway undrain http://10.0.0.1:8000
    """
    from gateway.terminal.asking import client_of, set_draining

    set_draining(client_of(admin, token_env), replica, draining=False)
