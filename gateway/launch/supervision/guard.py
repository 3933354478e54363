"""Runs one command in a session of its own and ends everything it started, with whoever asked for it.

    python guard.py COMMAND [ARGUMENT ...]

The command's output is this process' own; its process id is the first line of it. A byte on standard input
asks the command to end (SIGTERM). When the command exits, or standard input closes, everything is killed. The
kernel closes it whatever the asker dies of, kill -9 included, and that is the point: vLLM's engine processes
outlive an API server that was killed (vllm#43060), so only a third party can promise that none is left.

Nobody escapes by leaving the session: orphans come to this process (PR_SET_CHILD_SUBREAPER), so all that the
command ever started stays below it. Should the guard itself be killed, the command dies with it
(PR_SET_PDEATHSIG), and whoever watches the guard ends the session. Must import nothing but the standard
library, and little of that: one such process runs beside each server.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/include/uapi/linux/prctl.h
TRACKER_PATIENCE_S = 5.0
"""How long multiprocessing's resource tracker may take to remove 400 MB of shared memory a server."""
LOOK_S = 0.02
"""Between two looks at who is left: the kernel takes a moment over gigabytes of memory."""
CANNOT_RUN = 127

_PROC = Path("/proc")


def members(session: int, ancestor: int | None = None, mark: str | None = None) -> Iterator[int]:
    """The live processes of a session; zombies do not count.

    Also the descendants of `ancestor`, and whoever has `mark` (NAME=VALUE) in its first environment.
    """
    found = dict(_processes())
    for pid, (_, owner) in found.items():
        if (
            owner == session
            or (ancestor is not None and _descends(pid, ancestor, found))
            or (mark is not None and mark.encode() in _read(pid, "environ"))
        ):
            yield pid


def end(
    session: int,
    ancestor: int | None = None,
    mark: str | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Kill all of these, as `members` says, until none is left. Calls `meanwhile` now and then.

    Resource trackers may finish their work first: they remove what the killed left in shared memory.
    """
    if not _PROC.is_dir():  # not Linux: the group is all that can be had
        with suppress(ProcessLookupError):
            os.killpg(session, signal.SIGKILL)
        return
    patience_ends = time.monotonic() + TRACKER_PATIENCE_S
    while left := list(members(session, ancestor, mark)):
        for pid in left:
            if _is_resource_tracker(pid) and time.monotonic() < patience_ends:
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        meanwhile()
        time.sleep(LOOK_S)


def _processes() -> Iterator[tuple[int, tuple[int, int]]]:
    """Process id, parent and session of everything that lives."""
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue  # ended while we were looking
        # proc_pid_stat(5): "pid (name) state parent group session ..."; the name may contain anything
        state, parent, _, owner = stat.rpartition(")")[2].split()[:4]
        if state not in "ZX":
            yield int(folder.name), (int(parent), int(owner))


def _descends(pid: int, ancestor: int, found: dict[int, tuple[int, int]]) -> bool:
    while pid in found:
        pid = found[pid][0]
        if pid == ancestor:
            return True
    return False


def _is_resource_tracker(pid: int) -> bool:
    return b"multiprocessing.resource_tracker" in _read(pid, "cmdline")


def _read(pid: int, name: str) -> bytes:
    """A file of a process; nothing if it has ended, or is not ours."""
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def _ask_the_kernel(option: int, value: int) -> None:
    """Prctl, on Linux; other systems have nothing like it, and vLLM does not run there."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _start(command: list[str]) -> int:
    """Fork and run the command. `os.fork` is safe here: this process never had a second thread."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    _ask_the_kernel(PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(1, 2)
    try:
        if os.getppid() == guard:  # else it died before the kernel was asked
            os.write(1, f"{os.getpid()}\n".encode())
            os.execvp(command[0], command)  # noqa: S606  (the operator's own command)
    except OSError as error:
        os.write(1, f"cannot run {command[0]}: {(error.strerror or str(error)).lower()}\n".encode())
    os._exit(CANNOT_RUN)


class _Children:
    """Reaps whatever ends below the guard, and keeps how the command ended."""

    def __init__(self, command: int) -> None:
        self._command = command
        self.status: int | None = None

    def reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self._command:
                    self.status = os.waitstatus_to_exitcode(status)


def main(command: list[str]) -> int:
    """Guard one command until its end.

    Returns:
        Its exit status, 128 + n if signal n ended it.
    """
    # Whoever started this decides when it ends, and says so on standard input.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    _ask_the_kernel(PR_SET_CHILD_SUBREAPER, 1)
    pid = _start(command)
    children = _Children(pid)
    while children.status is None:
        ready, _, _ = select.select([0, waking], [], [])
        if waking in ready:
            os.read(waking, 4096)
            children.reap()
        elif os.read(0, 1):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        else:
            break
    end(pid, os.getpid(), meanwhile=children.reap)
    children.reap()
    status = children.status
    return -signal.SIGKILL if status is None else status


if __name__ == "__main__":
    ended = main(sys.argv[1:])
    sys.exit(ended if ended >= 0 else 128 - ended)
