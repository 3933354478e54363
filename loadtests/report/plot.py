"""The plot: waiting against load, or over time where the load doesn't just rise."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from loadtests.llm.measured import Histogram, Seen
from loadtests.report.run import Level, Run
from loadtests.report.wording import duration, rate

INK, SOFT, LINE = "#1b1d21", "#5c626a", "#e6e5df"
SHADES = {"p50": "#9fb4f2", "p95": "#3a5bd9", "p99": "#14225f"}
TARGET, THROUGHPUT, FAILED, USERS = "#b3541e", "#17794a", "#c2322a", "#63686f"
PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}
LOG_FROM = 20.0
"""Largest over smallest value from which on a linear axis would hide the small ones."""
LEAST_S = 0.001
"""Below, events came together: a log axis would be about how fast they were read."""
LEVELS_TICKED = 16


@dataclass(frozen=True, slots=True)
class Points:
    """What is drawn, and where along the x axis."""

    run: Run
    levels: Sequence[Level]
    x: Sequence[float]
    staircase: bool


Panel = Callable[[Axes, Points], None]


def draw(run: Run, path: Path) -> None:
    """Write the plot as PNG."""
    staircase = run.plan.is_staircase()
    levels = run.levels() if staircase else run.windows()
    x = [float(level.users) if staircase else level.begins_s + level.seconds / 2 for level in levels]
    with rc_context(STYLE):
        _figure(Points(run, levels, x, staircase)).savefig(path, dpi=150, facecolor="white")


def _figure(points: Points) -> Figure:
    panels = _panels(points)
    figure = Figure(figsize=(9.6, 1.0 + 2.2 * len(panels)), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr, call-arg]
    figure.suptitle(_about(points.run), x=0.012, ha="left", fontsize=10, color=SOFT)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, ax in zip(panels, axes, strict=True):
        _frame(ax)
        panel(ax, points)
    last = axes[-1]
    if points.staircase and len(points.x) <= LEVELS_TICKED:
        last.xaxis.set_major_locator(FixedLocator(list(points.x)))
    else:
        last.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=[1, 2, 5, 10]))
    last.set_xlim(0, points.x[-1] * 1.03 if points.staircase else points.run.seconds)
    last.set_xlabel("users" if points.staircase else "seconds since the start")
    return figure


def _about(run: Run) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.began))
    return f"Load {run.name}, up to {run.plan.peak} users, {when}, {run.host}"


def _panels(points: Points) -> list[Panel]:
    panels: list[Panel] = [_answers, _prompts]
    if points.run.profile.streams():
        panels = [_first_tokens, _gaps, _output]
    changes = len({phase.users for phase in points.run.plan.phases}) > 1
    return [*panels, _users] if changes and not points.staircase else panels


def _first_tokens(ax: Axes, points: Points) -> None:
    _waiting(ax, points, "time to first token", lambda seen: seen.ttft)
    _target(ax, points)
    _legend(ax)


def _answers(ax: Axes, points: Points) -> None:
    _waiting(ax, points, "time to answer", lambda seen: seen.answer)
    _target(ax, points)
    _legend(ax)


def _gaps(ax: Axes, points: Points) -> None:
    _waiting(ax, points, "time between tokens", lambda seen: seen.itl)


def _output(ax: Axes, points: Points) -> None:
    _throughput(ax, points, "output tokens per second", lambda seen: seen.output_tokens)


def _prompts(ax: Axes, points: Points) -> None:
    _throughput(ax, points, "prompt tokens per second", lambda seen: seen.prompt_tokens)


def _waiting(ax: Axes, points: Points, title: str, histogram: Callable[[Seen], Histogram]) -> None:
    """Quantiles; over time p99 is left out, because a window has too few requests for one."""
    _title(ax, title)
    drawn: list[float] = []
    for name in ("p50", "p95", "p99") if points.staircase else ("p50", "p95"):
        values = [histogram(level.seen).quantile(PARTS[name]) for level in points.levels]
        y = [float("nan") if value is None else max(value, LEAST_S) for value in values]
        drawn += [max(value, LEAST_S) for value in values if value is not None]
        ax.plot(points.x, y, label=name, color=SHADES[name], linewidth=1.8, **_marks(points))
    if drawn and max(drawn) > LOG_FROM * min(drawn):
        ax.set_yscale("log")
        wide = max(drawn) > 100 * min(drawn)
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if wide else (1.0, 2.0, 5.0)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="y", which="minor", length=0)
    else:
        ax.set_ylim(0, 1.15 * max(drawn, default=1.0))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value) if value else "0"))


def _target(ax: Axes, points: Points) -> None:
    """The line, where it is in sight or near."""
    target_s = points.run.target_s
    low, high = ax.get_ylim()
    if not low <= target_s <= 2 * high:
        return
    ax.set_ylim(low, max(high, 1.15 * target_s))
    ax.axhline(
        target_s,
        color=TARGET,
        linewidth=1.1,
        linestyle=(0, (4, 3)),
        label=f"target of p95: {duration(target_s)}",
    )


def _throughput(ax: Axes, points: Points, title: str, count: Callable[[Seen], float]) -> None:
    _title(ax, title)
    y = [level.per_s(count(level.seen)) for level in points.levels]
    ax.plot(points.x, y, color=THROUGHPUT, linewidth=1.8, **_marks(points))
    failed = [index for index, level in enumerate(points.levels) if level.seen.failures]
    if failed:
        ax.plot(
            [points.x[index] for index in failed],
            [y[index] for index in failed],
            linestyle="none",
            marker="x",
            markersize=8,
            markeredgewidth=2,
            color=FAILED,
            label="some requests failed",
        )
        _legend(ax)
    ax.set_ylim(0, 1.15 * max(y, default=0.0) or 1.0)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value) if value else "0"))


def _users(ax: Axes, points: Points) -> None:
    _title(ax, "users")
    phases = points.run.plan.phases
    edges = [phase.begins_s for phase in phases] + [phases[-1].ends_s]
    ax.stairs([phase.users for phase in phases], edges, color=USERS, fill=True, alpha=0.25)
    ax.set_ylim(0, 1.15 * points.run.plan.peak)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _marks(points: Points) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4.5} if points.staircase else {}


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color=INK)


def _legend(ax: Axes) -> None:
    """Beside the title, where no line can run through it."""
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.98),
        ncols=4,
        frameon=False,
        fontsize=9.5,
        borderaxespad=0.0,
        handlelength=1.6,
        columnspacing=1.4,
    )


def _frame(ax: Axes) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color("#c9c8c1")
    ax.grid(axis="y", color=LINE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0)
