"""A plan for people: who uses what on each GPU, the numbers of each instance, commands and start order.

Only turns values into Rich renderables; the JSON form is in `document`.
"""

import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.launch.command import plan_commands
from gateway.launch.memory.terms import GIB, Origin, Term
from gateway.launch.plan import GpuUse, NoFitError, Plan, PlannedInstance

_BAR_CELLS = 60
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")
_MARKS = {Origin.EXACT: "", Origin.CONFIG: "≈", Origin.FITTED: "~", Origin.MEASURED: "="}
_LEGEND = "sizes in GiB per GPU; no mark: exact, ≈ from config.json, ~ fitted to published logs, = measured"


def print_plan(plan: Plan, console: Console, vllm_command: Sequence[str] = ("vllm",)) -> None:
    """Print the whole plan."""
    colours = {planned.request.label: _COLOURS[n % len(_COLOURS)] for n, planned in enumerate(plan.instances)}
    for use in plan.gpus:
        console.print(_gpu_panel(use, plan.instances, colours))
    console.print(_instances_table(plan.instances, colours))
    console.print(Text(_LEGEND, style="dim"))
    console.print(_commands(plan, vllm_command), soft_wrap=True)
    for warning in _warnings(plan):
        console.print(Text(f"! {warning}", style="yellow"))


def print_failure(error: NoFitError, console: Console) -> None:
    """Print why there is no plan, and what would make one."""
    console.print(Text(f"It does not fit: {error}.", style="bold red"))
    if not error.proven:
        console.print("There are too many ways to place these to try them all; another one may exist.")
    if error.suggestions:
        console.print("What would make it fit, each on its own:")
    for suggestion in error.suggestions:
        prefix = f"{suggestion.model}: " if suggestion.model else ""
        console.print(Text(f"  {prefix}{suggestion.change}"))


def _gpu_panel(use: GpuUse, instances: Sequence[PlannedInstance], colours: dict[str, str]) -> Panel:
    device = use.device
    here = [planned for planned in instances if device.index in planned.gpus]
    bar, legend = Text(), Text()
    cells = 0
    for planned in here:
        label = planned.request.label
        width = max(1, round(planned.used_bytes / device.total_bytes * _BAR_CELLS))
        cells += width
        bar.append("█" * width, style=colours[label])
        legend.append(f"■ {label} {planned.used_bytes / GIB:.1f}  ", style=colours[label])
    if device.used_bytes:
        width = max(1, round(device.used_bytes / device.total_bytes * _BAR_CELLS))
        cells += width
        bar.append("▒" * width, style="dim")
        legend.append(f"▒ others {device.used_bytes / GIB:.1f}  ", style="dim")
    bar.append("░" * max(0, _BAR_CELLS - cells), style="dim")
    legend.append(f"░ free {use.slack_bytes / GIB:.1f}", style="dim")
    title = f"{device.kind} {device.index}: {device.name}, {device.total_bytes / GIB:.2f} GiB"
    return Panel(Group(bar, legend), title=title, title_align="left", width=_BAR_CELLS + 30)


def _instances_table(instances: Sequence[PlannedInstance], colours: dict[str, str]) -> Table:
    table = Table("#", "model", "on", "weights", "KV cache", "KV tokens", "concurrency", "activation")
    for heading in ("graphs", "context", "total"):
        table.add_column(heading)
    for planned in instances:
        budget = planned.budget
        length = f"x at {budget.max_model_len}" if planned.max_concurrency else ""
        table.add_row(
            str(planned.start_order + 1),
            Text(planned.request.label, style=colours[planned.request.label]),
            ",".join(str(gpu) for gpu in planned.gpus),
            _size(Term(budget.weights.size_bytes + budget.lora.size_bytes, budget.weights.origin)),
            f"{planned.kv_bytes / GIB:.2f}" if planned.kv_bytes else "none",
            f"{planned.kv_tokens:,}" if planned.kv_tokens else "-",
            f"{planned.max_concurrency:.1f}{length}" if planned.max_concurrency else "-",
            _size(budget.activation),
            _size(budget.graphs),
            _size(Term(budget.context.size_bytes + budget.inside.size_bytes, budget.context.origin)),
            f"{planned.used_bytes / GIB:.2f}",
        )
    return table


def _size(term: Term) -> str:
    return f"{_MARKS[term.origin]}{term.gib:.2f}"


def _commands(plan: Plan, vllm_command: Sequence[str]) -> RenderableType:
    lines = [Text("\nStart one after the other, each once the one before answers /health:", style="bold")]
    for planned, command in zip(plan.instances, plan_commands(plan, vllm_command), strict=True):
        environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in command.env.items())
        lines.append(Text(f"{planned.start_order + 1}. {environment} {command.line}".replace("  ", " ")))
    return Group(*lines)


def _warnings(plan: Plan) -> Iterator[str]:
    yield from plan.warnings
    for planned in plan.instances:
        for warning in planned.warnings:
            yield f"{planned.request.label}: {warning}"
    if not plan.exhaustive:
        yield "there are too many ways to place these to try them all; a better plan may exist"
