"""What was measured on and with: hardware, system, compiler, versions of every peer, the gateway's commit."""

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from loadtests.bench.peers import PEERS, Peer

GIB = 1 << 30


def _said(command: list[str]) -> str:
    """What a command prints, in one line; empty if it can't run."""
    try:
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip()


def version(peer: Peer) -> str:
    """The version of an installed peer."""
    program = peer.program()
    if program is None:
        return ""
    if peer.version:
        # "nginx version: nginx/1.22.1", "HAProxy version 2.6.12-1 2023/12/16": the first number counts
        found = re.search(r"\d+\.\w[\w.]*", _said([str(program), *peer.version]))
        return found.group() if found else "unknown"
    names = [re.split(r"[\[=<>]", requirement)[0] for requirement in peer.requirement]
    python = PEERS / peer.name / "bin" / "python"
    code = (
        "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    )
    said = _said([str(python), "-c", code, *names])
    return said.removeprefix(f"{peer.name} ").removeprefix(f"{names[0]} ") if len(names) == 1 else said


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _system() -> str:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    kernel = re.match(r"[\d.]+", platform.release())
    return f"{release.get('PRETTY_NAME', 'Linux')}, kernel {kernel.group() if kernel else ''}"


def _commit() -> str:
    commit = _said(["git", "rev-parse", "--short", "HEAD"])
    if not re.fullmatch(r"[0-9a-f]{7,}", commit):
        return "unknown"
    return commit + (", with uncommitted changes" if _said(["git", "status", "--porcelain", "-uno"]) else "")


def describe() -> dict[str, str]:
    """The machine and the toolchain, as label → text."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / GIB:.0f} GiB",
        "system": _system(),
        "python": platform.python_version(),
        "compiler": (_said([compiler, "--version"]).splitlines() or ["unknown"])[0],
        "gateway commit": _commit(),
    }
