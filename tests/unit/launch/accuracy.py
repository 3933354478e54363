"""How close the memory model comes to published logs: `python -m tests.unit.launch.accuracy` prints a table.

The same figures are asserted in test_ground_truth.py.
"""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.unit.launch.ground_truth import Row, budget_of, model_configs, rows

_PERCENT = 100.0
_ROUNDING_GIB = 0.005
"""Logs print GiB with two digits, so half a hundredth is no error of ours."""


@dataclass(frozen=True)
class Deviation:
    """Relative error of one prediction, in per cent, beyond the log's own rounding for KV tokens."""

    row: Row
    architecture: str
    percent: float


def kv_token_deviations() -> list[Deviation]:
    """Tokens given the available bytes, over all rows that count."""
    configs = model_configs()
    found = []
    for row in rows():
        if row.excluded or not row.has("model", "available_kv_gib", "kv_tokens"):
            continue
        budget = budget_of(row, configs)
        predicted = budget.geometry.tokens(row.available_bytes)
        logged = row.values["kv_tokens"]
        found.append(Deviation(row, _architecture(row), _PERCENT * (predicted - logged) / logged))
    return found


def concurrency_deviations() -> list[Deviation]:
    """Concurrent requests of full length given the available bytes."""
    configs = model_configs()
    found = []
    for row in rows():
        if row.excluded or not row.has("model", "available_kv_gib", "max_concurrency", "max_model_len"):
            continue
        predicted = budget_of(row, configs).geometry.concurrency(row.available_bytes)
        logged = row.values["max_concurrency"]
        found.append(Deviation(row, _architecture(row), _PERCENT * (predicted - logged) / logged))
    return found


def weight_deviations() -> list[Deviation]:
    """Weights from config.json alone, over all rows that count."""
    configs = model_configs()
    found = []
    for row in rows():
        if row.values.get("model_inferred") or row.has("weights_excluded"):
            continue
        if not row.has("model", "weights_gib"):
            continue
        budget = budget_of(row, configs)
        predicted = budget.weights.gib + budget.lora.gib
        logged = row.values["weights_gib"]
        found.append(Deviation(row, _architecture(row), _PERCENT * (predicted - logged) / logged))
    return found


def left_out() -> list[tuple[Row, str]]:
    """Rows that do not count for KV tokens, each with the reason."""
    silent = "the log names no available memory or no tokens"
    found = [(row, row.excluded) for row in rows() if row.excluded]
    return found + [
        (row, silent) for row in rows() if not row.excluded and not row.has("available_kv_gib", "kv_tokens")
    ]


def _architecture(row: Row) -> str:
    config = model_configs()[row.values["model"]]
    return str(config["architectures"][0])


def table() -> Table:
    """Accuracy by architecture."""
    grid = Table(
        "architecture", "KV rows", "KV tokens, worst %", "weight rows", "weights, median %", "worst %"
    )
    by_architecture: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for deviation in kv_token_deviations():
        by_architecture[deviation.architecture][0].append(abs(deviation.percent))
    for deviation in weight_deviations():
        by_architecture[deviation.architecture][1].append(abs(deviation.percent))
    for name, (tokens, weights) in sorted(by_architecture.items()):
        grid.add_row(
            name,
            str(len(tokens)),
            f"{max(tokens):.3f}" if tokens else "-",
            str(len(weights)),
            f"{median(weights):.2f}" if weights else "-",
            f"{max(weights):.2f}" if weights else "-",
        )
    return grid


def main() -> None:
    """Print the table, every row, and what was left out."""
    console = Console(width=160)
    console.print(table())
    for title, deviations in (
        ("KV tokens", kv_token_deviations()),
        ("concurrency", concurrency_deviations()),
        ("weights", weight_deviations()),
    ):
        console.print(f"\n{title}, {len(deviations)} rows:")
        for deviation in sorted(deviations, key=lambda d: -abs(d.percent)):
            console.print(f"  {deviation.percent:+8.3f} %  {deviation.row.name}", highlight=False)
    console.print("\nleft out:")
    for row, reason in left_out():
        console.print(f"  {reason}: {row.name}", highlight=False)


if __name__ == "__main__":
    main()
