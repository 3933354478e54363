"""Starting programs on chosen CPUs in a session of their own, and stopping all that they started."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtests.bench import procfs

STOP_S = 8.0
OPEN_FILES = 20_000
# A proxy setting would send loopback requests elsewhere; the Python settings would slow peers down.
NOT_INHERITED = frozenset(
    (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "pythondontwritebytecode",
        "pythonunbuffered",
        "pythonpath",
    )
)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a measured program."""
    kept = {key: value for key, value in os.environ.items() if key.lower() not in NOT_INHERITED}
    return kept | dict(extra)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that are free now: the peers are told a port, they can't report one."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def raise_file_limit() -> None:
    """Allow this process, and so what it starts, enough descriptors for thousands of streams."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


@contextlib.contextmanager
def _on_cpus(cpus: frozenset[int] | None) -> Iterator[None]:
    """Programs started inside inherit the affinity: no thread of theirs ever runs elsewhere."""
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Program:
    """A running program; leaving the context stops it and whatever it started."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        cpus: frozenset[int] | None = None,
        env: Mapping[str, str] | None = None,
        output: int | None = None,
    ) -> None:
        """Start it; stderr goes to `log`, and stdout too unless `output` says otherwise."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as file, _on_cpus(cpus):
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file if output is None else output,
                stderr=file,
                env=environment(env or {}),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def complaint(self) -> str:
        """The last lines it wrote, on one line."""
        return " ".join(self.log.read_text(errors="replace")[-400:].split())

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to whoever of its family is left after a while."""
        family = set(procfs.family(self.pid))
        if not self.has_ended():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        deadline = time.monotonic() + 1.0
        while (left := procfs.alive(family)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
