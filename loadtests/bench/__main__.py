"""Command line of the bench."""

import shlex
import signal
import sys
from pathlib import Path

import click
from rich.console import Console

from loadtests.bench import install as installing
from loadtests.bench import machine, native, peers, report, run, scenarios, storage, table
from loadtests.bench.errors import BenchError
from loadtests.bench.measure import Bench, Measurement
from loadtests.bench.peers import CACHE, GATEWAY, Peer
from loadtests.bench.processes import raise_file_limit
from loadtests.bench.stats import Results

RESULTS = CACHE / "results.jsonl"
REPORT = Path("loadtests") / "RESULTS.md"
SOAK = CACHE / "soak.json"
QUICK_SCALE = 0.25


def _chosen(names: tuple[str, ...], also: tuple[str, ...]) -> list[Peer]:
    """The peers that were asked for (all, if none), less those that are not installed, which are named."""
    wanted = [peers.BY_NAME[name] for name in names or peers.BY_NAME]
    for entry in also:
        label, _, program = entry.partition("=")
        path = Path(program).absolute()
        if not path.is_file():
            raise BenchError(f"--also {entry}: write LABEL=PATH with the path of a vllm-gateway executable")
        wanted.append(peers.gateway(label, lambda path=path: path))  # type: ignore[misc]  # bound now, not later
    for peer in wanted:
        if not peer.is_installed():
            click.echo(f"{peer.name} is not installed: {peer.how_to_install()}")
    return [peer for peer in wanted if peer.is_installed()]


REST_FIGURES = (("cpu_us_per_request", "CPU {:,.0f} µs/request"), ("requests_per_s", "{:,.0f} requests/s"))
STREAM_FIGURES = (
    ("cpu_us_per_event", "CPU {:.1f} µs/event"),
    ("events_per_s", "{:,.0f} events/s"),
    ("delay_p99_us", "delay p99 {:,.0f} µs"),
)


def _progress(measured: Measurement) -> str:
    figures = measured.metrics
    parts = [f"{measured.scenario:4} {measured.peer:14}"]
    for metric, label in STREAM_FIGURES if "events_per_s" in figures else REST_FIGURES:
        if metric in figures:
            parts.append(label.format(figures[metric]))
    if measured.errors:
        parts.append(f"{measured.errors:,} errors: {measured.complaint}")
    if measured.is_disturbed():
        parts.append(f"disturbed ({measured.foreign_cpus():.2f} CPUs)")
    return "  ".join(parts)


@click.group()
def main() -> None:
    """Measure what a gateway in front of vLLM costs, beside its peers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped


@main.command("run")
@click.option(
    "--peer", "names", multiple=True, type=click.Choice(list(peers.BY_NAME)), help="Default: all installed."
)
@click.option(
    "--scenario", "loads", multiple=True, type=click.Choice(list(scenarios.BY_NAME)), help="Default: all."
)
@click.option(
    "--also", multiple=True, metavar="LABEL=PATH", help="Another build's vllm-gateway, as one more peer."
)
@click.option("--reps", default=3, show_default=True, help="Interleaved repetitions.")
@click.option("--tries", default=2, show_default=True, help="Runs of a cell at most, if others disturb it.")
@click.option("--quiet-wait", default=30.0, show_default=True, help="Seconds to wait for an idle machine.")
@click.option("--quick", is_flag=True, help="A quarter of each load's duration: a look, not a result.")
@click.option("--resume", is_flag=True, help="Go on with what the results file lacks.")
@click.option("--results", default=RESULTS, show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--reference", default=GATEWAY, show_default=True, help="Whom the table compares with the others."
)
def run_command(  # noqa: PLR0917  one parameter for each option
    names: tuple[str, ...],
    loads: tuple[str, ...],
    also: tuple[str, ...],
    reps: int,
    tries: int,
    quiet_wait: float,
    quick: bool,  # noqa: FBT001  click passes flags by name
    resume: bool,  # noqa: FBT001
    results: Path,
    reference: str,
) -> None:
    """Measure, and print the table of ratios."""
    raise_file_limit()
    programs = native.build(CACHE)
    chosen = _chosen(names, also)
    if not resume:
        results.unlink(missing_ok=True)
    command = shlex.join(["python", "-m", "loadtests.bench", *sys.argv[1:]])
    versions = {peer.name: machine.version(peer) for peer in chosen if not peer.is_direct()}
    storage.begin(results, machine.describe(), versions, command)
    known = storage.read(results)
    steps = [
        step
        for step in run.plan(chosen, [scenarios.BY_NAME[name] for name in loads or scenarios.BY_NAME], reps)
        if not known.has(step.peer.name, step.scenario.name, step.repetition)
    ]
    bench = Bench(programs, CACHE, QUICK_SCALE if quick else 1.0)

    def keep(measured: Measurement) -> None:
        storage.add(results, measured)
        click.echo(_progress(measured))

    run.run(bench, steps, quiet_wait, tries, keep)
    _show(results, reference)


def _show(results: Path, reference: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table.show(console, Results(storage.read(results).measurements), reference)
    click.echo(f"machine-readable: {results}")


@main.command("table")
@click.option("--results", default=RESULTS, show_default=True, type=click.Path(path_type=Path))
@click.option("--reference", default=GATEWAY, show_default=True)
def table_command(results: Path, reference: str) -> None:
    """Print the tables of an earlier run."""
    _show(results, reference)


@main.command("report")
@click.option("--results", default=RESULTS, show_default=True, type=click.Path(path_type=Path))
@click.option("--soak", default=SOAK, show_default=True, type=click.Path(path_type=Path))
@click.option("--to", default=REPORT, show_default=True, type=click.Path(path_type=Path))
def report_command(results: Path, soak: Path, to: Path) -> None:
    """Write RESULTS.md from an earlier run."""
    to.write_text(report.write(storage.read(results), report.read_soak(soak)))
    click.echo(f"wrote {to}")


@main.command("install-peers")
@click.argument("names", nargs=-1, type=click.Choice([p.name for p in peers.ALL if p.requirement]))
def install_command(names: tuple[str, ...]) -> None:
    """Install peers from PyPI into .cache/peers (all, if none is named), and say how to get the others."""
    for peer in peers.ALL:
        if peer.requirement and peer.name in (names or peers.BY_NAME):
            click.echo(f"installing {peer.name}: {' '.join(peer.requirement)}")
            installing.install(peer)
        elif not peer.is_installed():
            click.echo(f"{peer.name} is not installed: {peer.how_to_install()}")


@main.command("peers")
def peers_command() -> None:
    """Say which peers are installed, in which version, and how to install the others."""
    for peer in peers.ALL:
        if not peer.is_direct():
            click.echo(
                f"{peer.name:14} {machine.version(peer) if peer.is_installed() else peer.how_to_install()}"
            )


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (BenchError, click.ClickException) as error:
        sys.exit(f"bench: {error if isinstance(error, BenchError) else error.format_message()}")
    except click.Abort:
        sys.exit(130)
