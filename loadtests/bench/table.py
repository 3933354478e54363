"""The tables in the terminal: ratios to every peer with their spread, and the goals."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtests.bench.columns import COMPARED
from loadtests.bench.goals import judge
from loadtests.bench.scenarios import BY_NAME
from loadtests.bench.stats import Results, Spread

STYLES = {"reached": "green", "not reached": "red", "not measured": "dim"}


def _ratio_cell(ratio: Spread | None) -> str:
    if ratio is None:
        return "[dim]-[/]"
    colour = "green" if ratio.median <= 1 else "red"
    return f"[{colour}]{ratio.median:.2f}[/]\n[dim]{ratio.low:.2f} to {ratio.high:.2f}[/]"


def ratios(results: Results, reference: str) -> Table:
    """How many times each peer's figure the reference has; below 1 the reference needs less."""
    others = [peer for peer in results.peers if peer != reference]
    table = Table(
        title=f"{reference} ÷ peer: median and range over the repetitions (below 1: {reference} needs less)"
    )
    table.add_column("scenario")
    table.add_column(reference, justify="right")
    for other in others:
        table.add_column(other, justify="right")
    for scenario, column in COMPARED:
        own = results.value(reference, scenario, column.metric)
        if own is None:
            continue
        figure = f"{column.write(own.median)}\n[dim]{column.write(own.low)} to {column.write(own.high)}[/]"
        cells = [_ratio_cell(results.ratio(reference, other, scenario, column.metric)) for other in others]
        table.add_row(f"{scenario} {column.heading}\n[dim]{BY_NAME[scenario].what}[/]", figure, *cells)
    return table


def goals(results: Results) -> Table:
    """Every goal, what was measured, and whether that reaches it."""
    table = Table(title="Goals")
    for heading in ("scenario", "figure", "level", "to reach", "measured", ""):
        table.add_column(heading)
    for verdict in judge(results):
        goal, word = verdict.goal, verdict.word()
        measured = str(verdict.measured) if verdict.measured else "-"
        table.add_row(
            goal.scenario, goal.label(), goal.level, str(goal), measured, f"[{STYLES[word]}]{word}[/]"
        )
    return table


def warnings(results: Results) -> list[str]:
    """What a reader of the tables must know: failed requests, altered bytes, runs that others disturbed."""
    lines = []
    for scenario in results.scenarios:
        disturbed = []
        for peer in results.peers:
            runs = results.runs(peer, scenario)
            failed = [run for run in runs if not run.has_figures()]
            lines += [f"{scenario} {peer}: a run failed: {run.complaint}" for run in failed]
            unwell = [run for run in runs if run.has_figures() and run.errors]
            if unwell:
                count = sum(run.errors for run in unwell)
                lines.append(f"{scenario} {peer}: {count:,} requests did not end well: {unwell[0].complaint}")
            exact = results.value(peer, scenario, "byte_exact_share")
            if exact and exact.low < 1:
                lines.append(f"{scenario} {peer}: {exact.low:.0%} of the streams came through byte for byte")
            if any(run.is_disturbed() for run in results.counted(peer, scenario)):
                disturbed.append(peer)
        if disturbed:
            lines.append(f"{scenario}: others disturbed every repetition of {', '.join(disturbed)}")
    return lines


def show(console: Console, results: Results, reference: str) -> None:
    """Print everything."""
    console.print(ratios(results, reference))
    console.print(goals(results))
    for line in warnings(results):
        console.print(f"[yellow]note[/] {escape(line)}", highlight=False)
