"""The report as one page of HTML that needs nothing else: the findings, the plot, the figures."""

import base64
import time
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

from loadtests.report.run import Run
from loadtests.report.table import columns, rows
from loadtests.report.wording import BUSY_CPU, duration, findings, good_levels, share

LOCUST = "locust.html"
"""The name of Locust's own report beside this page."""
CSS = """
:root { --ink: #1b1d21; --soft: #5c626a; --line: #e4e3dd; --ground: #f5f5f2; --accent: #3a5bd9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 Inter, system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1rem; margin: 2rem 0 .6rem; }
p { margin: .25rem 0; }
.soft, dt { color: var(--soft); }
.notes { margin-top: .7rem; font-size: .9rem; }
a { color: var(--accent); }
.card { background: #fff; border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.2rem; }
.findings { margin-top: 1.1rem; border-left: 4px solid var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.1rem; margin: 1.1rem 0 0; }
dd { margin: 0; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; padding: .4rem .6rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .32rem .5rem; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
th.group { text-align: center; border-bottom: 1px solid var(--line); }
tbody tr { border-top: 1px solid var(--line); }
tr.good td:first-child { box-shadow: inset 3px 0 var(--accent); }
.left td, .left th { text-align: left; white-space: normal; }
.left td:first-child { text-align: right; width: 6rem; }
@media print { body { background: #fff; } }
"""


def page(run: Run, plot: Path) -> str:
    """The page's text, with the plot inside."""
    picture = base64.b64encode(plot.read_bytes()).decode()
    title = f"Load {run.name}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.began))}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{CSS}</style></head><body><main>
<h1>{escape(title)}</h1>
<p class="soft">{escape(run.profile.about)}</p>
<div class="card findings">{"".join(f"<p>{escape(finding)}</p>" for finding in findings(run))}</div>
<dl>{"".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in _facts(run))}</dl>
<h2>{escape(_plot_title(run))}</h2>
<div class="card"><img alt="{escape(_plot_title(run))}" src="data:image/png;base64,{picture}"></div>
<h2>Figures</h2>
<div class="card wide">{_table(run)}</div>
{_notes(run)}{_problems(run)}
</main></body></html>
"""


def _plot_title(run: Run) -> str:
    return f"{run.waited_for} against {'load' if run.plan.is_staircase() else 'time'}"


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    total = run.total()
    shares = sum(kind.share for kind in run.profile.mix)
    yield "server", run.host
    yield "models", ", ".join(run.models)
    yield "users", f"{run.plan.peak} at the peak, arrival {run.arrival}, for {duration(run.seconds)}"
    yield "mix", ", ".join(f"{kind.name} {share(kind.share, shares)}" for kind in run.profile.mix)
    yield "requests", f"{total.requests:,}, of which {total.failures:,} failed"


def _table(run: Run) -> str:
    heads = columns(run)
    groups = "".join(
        f'<th class="group" colspan="{len(list(members))}">{escape(name)}</th>' if name else
        "<th></th>" * len(list(members))
        for name, members in groupby(heads, key=lambda column: column.group)
    )  # fmt: skip
    names = "".join(f"<th>{escape(column.head)}</th>" for column in heads)
    levels = run.levels()
    good = good_levels(run, levels) if run.plan.is_staircase() else []
    body = "".join(
        f'<tr class="{"good" if level in good else ""}">'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for level, cells in zip(levels, rows(run, levels), strict=True)
    )
    return f"<table><thead><tr>{groups}</tr><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _notes(run: Run) -> str:
    notes = ["TTFT: from sending a request to the first text. ITL: from one event with text to the next."]
    if not run.profile.streams():
        notes = ["Answer: from sending a request to its last byte."]
    if run.plan.is_staircase():
        notes.append("Marked levels keep the target. Each level counts after a pause in which it settles.")
    notes.append(
        f"Locust CPU: the most that a Locust process used of a core; above {BUSY_CPU:.0f} % "
        "its own waiting is in the figures."
    )
    link = f'Locust\'s own report: <a href="{LOCUST}">{LOCUST}</a>'
    return f'<p class="soft notes">{escape(" ".join(notes))} {link}</p>'


def _problems(run: Run) -> str:
    if not run.problems:
        return ""
    lines = "".join(f"<tr><td>{count:,}</td><td>{escape(text)}</td></tr>" for count, text in run.problems)
    return f'<h2>Failures</h2><div class="card wide"><table class="left"><tbody>{lines}</tbody></table></div>'
