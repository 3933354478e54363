"""Writing a run's report, and telling about it in the terminal."""

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.report.page import LOCUST, page
from loadtests.report.plot import draw
from loadtests.report.run import Run
from loadtests.report.table import columns, rows, write_csv
from loadtests.report.wording import findings

PAGE, PLOT, FIGURES = "report.html", "plot.png", "levels.csv"
WIDTH = 120
"""Of the table, whatever is known of the terminal: a table cut in two is worse than one that wraps."""


def write(run: Run, parent: Path, locust_page: str) -> Path:
    """Write everything into a new folder below `parent`, and return it."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(run.began))
    folder = parent / f"{run.name}-{stamp}"
    folder.mkdir(parents=True)
    draw(run, folder / PLOT)
    (folder / PAGE).write_text(page(run, folder / PLOT), encoding="utf-8")
    (folder / LOCUST).write_text(locust_page, encoding="utf-8")
    write_csv(run, folder / FIGURES)
    return folder


def tell(run: Run, folder: Path) -> None:
    """Print the figures of each level, what they say, and where the rest is."""
    console = Console(width=WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns(run):
        table.add_column(f"{column.group}\n{column.head}", justify="right", no_wrap=True)
    levels = run.levels()
    for cells in rows(run, levels):
        table.add_row(*cells)
    console.print(table)
    console.print()
    for line in _lines(run, folder):
        console.print(line, soft_wrap=True, markup=False)


def _lines(run: Run, folder: Path) -> Iterator[str]:
    yield from findings(run)
    yield f"Report: {folder / PAGE}  (plot: {PLOT}, figures: {FIGURES}, Locust's own: {LOCUST})"
