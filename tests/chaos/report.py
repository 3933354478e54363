"""The one table."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from tests.chaos.storm import Outcome

SHOWN = 20
TOLD = ("status", "outcome", "path", "adapter", "attempts", "ttft", "duration", "error")
"""What is said of a request that was not completed: keys of the access log."""


def show(outcome: Outcome, console: Console) -> None:
    """Print what happened, and what should not have."""
    ledger, plan = outcome.ledger, outcome.plan
    fates = ledger.fates
    table = Table(
        title=f"Chaos, seed {plan.seed}: {outcome.seconds:.0f} s", title_justify="left", show_header=False
    )
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    first, gap = ledger.worst()
    broken = ledger.of("broken")
    rows = [
        ("faults injected", sum(outcome.faults.values()), _words(outcome.faults)),
        ("requests", len(ledger), f"{plan.clients} at a time, {plan.workers} workers"),
        ("complete, right to the byte", fates["complete"], ""),
        ("failed before the first byte", fates["error"], _words(ledger.errors)),
        ("lost with a replica well all along", len(outcome.needless), "goal: none"),
        ("stalled before it, ended by their deadline", fates["late"], ""),
        ("streams that lost their replica", sum(_streams(outcome).values()), _words(_streams(outcome))),
        ("streams resumed", _streams(outcome)["resumed"], ""),
        ("streams broken, with an error event", len(broken), _broken(outcome)),
        ("left by their clients", fates["left"], ""),
        ("cut by a worker's death", fates["cut"], f"{len(ledger.kills)} workers killed"),
        ("wrong", fates["wrong"], ""),
        ("worst wait for the first byte", f"{first:.2f} s", ""),
        ("worst stall inside a stream", f"{gap:.2f} s", ""),
        *((what, sum(counts.values()), _words(counts)) for what, counts in _others(outcome)),
    ]
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)
    # Those of which the client got nothing first.
    for line in sorted(outcome.failures, key=lambda line: -line["status"])[:SHOWN]:
        said = ", ".join(f"{key} {line[key]}" for key in TOLD if line[key] not in (None, ""))
        console.print(f"not completed: {said}", highlight=False)
    for finding in outcome.findings:
        console.print(f"[red]finding:[/] {finding}", highlight=False)
    console.print("nothing is wrong" if not outcome.findings else f"{len(outcome.findings)} findings")


def _streams(outcome: Outcome) -> Counter[str]:
    return outcome.counted["streams that lost their replica"]


def _others(outcome: Outcome) -> list[tuple[str, Counter[str]]]:
    return [(what, n) for what, n in outcome.counted.items() if what != "streams that lost their replica"]


def _broken(outcome: Outcome) -> str:
    entries = outcome.ledger.of("broken")
    could = sum(entry.question.can_resume for entry in entries)
    return f"{could} of a kind that can be resumed" if entries else ""


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common() if count)
