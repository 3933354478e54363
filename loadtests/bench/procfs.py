"""What Linux says about processes: CPU time, memory and descriptors of a program and all it started.

Reads /proc only; a process that ends while it is read counts as gone.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that matter here (proc(5))."""

    pid: int
    parent: int
    session: int
    state: str
    cpu_s: float
    """User and system time of all threads, and of children that were waited for."""


@dataclass(frozen=True, slots=True)
class MachineTime:
    """CPU seconds since boot, of all CPUs together."""

    busy_s: float
    stolen_s: float


def parse_stat(text: str) -> Stat:
    """Parse /proc/PID/stat; the name may hold blanks and brackets, so count from the last bracket."""
    pid = int(text[: text.index(" ")])
    fields = text[text.rindex(")") + 2 :].split()
    ticks = sum(int(fields[index]) for index in (11, 12, 13, 14))
    return Stat(pid, int(fields[1]), int(fields[3]), fields[0], ticks / TICKS_PER_S)


def parse_pss_bytes(text: str) -> int:
    """Proportional set size from /proc/PID/smaps_rollup: shared pages count by their share."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _living() -> Iterator[Stat]:
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = parse_stat((folder / "stat").read_text())
        except GONE:
            continue
        if stat.state != "Z":
            yield stat


def family(root: int) -> dict[int, Stat]:
    """Every living process of the session that `root` leads, and all descendants of those."""
    living = {stat.pid: stat for stat in _living()}
    members = {pid for pid, stat in living.items() if root in {pid, stat.session}}
    while more := {pid for pid, stat in living.items() if stat.parent in members} - members:
        members |= more
    return {pid: living[pid] for pid in members}


def alive(pids: set[int]) -> set[int]:
    """Those of these processes that still run, whoever is their parent by now."""
    return pids & {stat.pid for stat in _living()}


def cpu_s(root: int) -> float:
    """CPU seconds used so far by the whole family of `root`."""
    return sum(stat.cpu_s for stat in family(root).values())


def pss_bytes(root: int) -> int:
    """Memory of the whole family of `root`; the kernel adds it up, which takes it milliseconds a process."""
    total = 0
    for pid in family(root):
        try:
            total += parse_pss_bytes((PROC / str(pid) / "smaps_rollup").read_text())
        except GONE:
            continue
    return total


def open_files(root: int) -> int:
    """Open descriptors of the whole family of `root`."""
    total = 0
    for pid in family(root):
        try:
            total += len(os.listdir(PROC / str(pid) / "fd"))  # noqa: PTH208  a thousand Paths for a count
        except GONE:
            continue
    return total


def machine_time() -> MachineTime:
    """CPU seconds of the machine: busy with anything, and stolen by the hypervisor."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return MachineTime((user + nice + system + irq + softirq) / TICKS_PER_S, steal / TICKS_PER_S)
