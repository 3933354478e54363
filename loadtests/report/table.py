"""The figures of each level as columns, for the terminal, the page and a CSV file."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.llm.measured import Histogram, Seen
from loadtests.report.run import Level, Run
from loadtests.report.wording import NONE, measured, rate

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))

Value = float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A figure: where it stands, its number in seconds, counts or percent, and how people read it."""

    group: str
    head: str
    value: Callable[[Level], Value]
    text: Callable[[Value], str]

    @property
    def csv_name(self) -> str:
        return "_".join(f"{self.group} {self.head}".lower().replace("/", " per ").split())


def _count(value: Value) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _rate(value: Value) -> str:
    return NONE if value is None else rate(value)


def _percent(value: Value) -> str:
    return f"{value:.0f} %" if value else NONE


def _quantiles(group: str, histogram: Callable[[Seen], Histogram]) -> list[Column]:
    def column(head: str, part: float) -> Column:
        return Column(group, head, lambda level: histogram(level.seen).quantile(part), measured)

    return [column(head, part) for head, part in QUANTILES]


def columns(run: Run) -> list[Column]:
    """The columns that this run has figures for."""
    found = [Column("", "users", lambda level: level.users, _count)]
    if not run.plan.is_staircase():
        found.insert(0, Column("", "from second", lambda level: level.begins_s, _count))
    found.append(Column("", "requests/s", lambda level: level.per_s(level.seen.requests), _rate))
    if run.profile.streams():
        found += _quantiles("TTFT", lambda seen: seen.ttft)
        found += _quantiles("ITL", lambda seen: seen.itl)
        found.append(Column("tokens/s", "output", lambda level: level.per_s(level.seen.output_tokens), _rate))
    else:
        found += _quantiles("answer", lambda seen: seen.answer)
    found += [
        Column("tokens/s", "prompt", lambda level: level.per_s(level.seen.prompt_tokens), _rate),
        Column("", "failures", lambda level: level.seen.failures, _count),
        Column("Locust", "CPU", lambda level: level.seen.locust_cpu, _percent),
    ]
    return found


def rows(run: Run, levels: Sequence[Level]) -> list[list[str]]:
    return [[column.text(column.value(level)) for column in columns(run)] for level in levels]


def write_csv(run: Run, path: Path) -> None:
    """Write the levels' figures: durations in seconds, all else in the unit of its name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([column.csv_name for column in columns(run)])
        for level in run.levels():
            writer.writerow([_cell(column.value(level)) for column in columns(run)])


def _cell(value: Value) -> str:
    return "" if value is None else f"{value:.6g}"
