"""What `up` says while servers start: what is planned, what each is doing, and for how long."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from gateway.launch.calibration import FILE_NAME
from gateway.launch.memory.terms import GIB
from gateway.launch.plan import Plan, PlannedInstance
from gateway.launch.supervision.events import Answering, Ended, GivenUp, Happening, Replanned, Starting
from gateway.terminal.planning import measured_models
from gateway.terminal.wording import duration, plural


def intentions(plan: Plan, launch_dir: Path) -> Iterator[Text]:
    """The plan in a line for each server, in start order, and what an operator should know about it."""
    yield Text(f"Starting {plural(len(plan.instances), 'server')}, one after the other:")
    for planned in sorted(plan.instances, key=lambda one: one.start_order):
        yield Text(f"  {planned.start_order + 1}. {_place(planned)}")
    if measured := measured_models(plan):
        yield Text(f"Calibrated by earlier starts: {measured} ({launch_dir / FILE_NAME}).")
    for planned in plan.instances:
        for warning in planned.warnings:
            yield Text(f"! {planned.request.label}: {warning}", style="yellow")
    for warning in plan.warnings:
        yield Text(f"! {warning}", style="yellow")


def _place(planned: PlannedInstance) -> str:
    budget = planned.budget
    devices = ", ".join(map(str, planned.gpus))
    weights = (budget.weights.size_bytes + budget.lora.size_bytes) / GIB
    cache = ""
    if planned.kv_bytes:
        cache = f", KV cache {planned.kv_bytes / GIB:.2f} GiB for {planned.kv_tokens:,} tokens"
    return f"{planned.request.label} on device {devices}: weights {weights:.2f} GiB{cache}"


class StartProgress:
    """A live line for each server on a terminal; one line for each step anywhere else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, happening: Happening) -> None:
        """Show that this happened."""
        label = happening.server.label
        match happening:
            case Starting(attempt=attempt, doing=doing):
                again = f" (start {attempt})" if attempt > 1 else ""
                self._show(label, f"{doing}{again}", step=f"{doing.partition(' (')[0]}{again}")
            case Answering(took_s=took_s, log=log):
                cache = f", KV cache for {log.kv_tokens:,} tokens" if log.kv_tokens else ""
                self._show(label, f"answers after {duration(took_s)}{cache}", ends=True)
            case Ended(why=why, pause_s=pause_s):
                self._show(label, f"{why}; again in {duration(pause_s)}")
            case Replanned(why=why, change=change):
                self._show(label, f"{why}; again with less memory ({change})")
            case GivenUp(why=why):
                self._show(label, f"given up: {why}", ends=True)

    def _show(self, label: str, text: str, *, step: str = "", ends: bool = False) -> None:
        if not self._console.is_terminal:
            line = f"{label}: {step or text}"
            if self._said.get(label) != line:
                self._said[label] = line
                self._console.print(line, soft_wrap=True, markup=False)
            return
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task("", total=1)
        done = 1 if ends else 0
        self._progress.update(self._tasks[label], description=f"{label}: {text}", completed=done)
