"""Runs one command in a session of its own, and ends that whole session with whoever asked for it.

    python guard.py COMMAND [ARGUMENT ...]

The command's process id is the one line on standard output; what the command prints goes to standard error.
The session ends when the command exits or when standard input closes. The kernel closes it if the asker dies,
however it dies, and that is the point: vLLM's engine processes outlive a killed API server, so nobody but a
third party can promise that none is left behind. Must import nothing but the standard library.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TRACKER_PATIENCE_S = 5.0


def session_members(session: int) -> Iterator[int]:
    """The live processes of a session; zombies do not count."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we were looking
        # proc_pid_stat(5): "pid (name) state parent group session ..."; the name may contain anything
        state, _parent, _group, owner = stat.rpartition(")")[2].split()[:4]
        if state not in "ZX" and int(owner) == session:
            yield int(folder.name)


def is_resource_tracker(pid: int) -> bool:
    """Whether it is the helper of multiprocessing that removes what its siblings left in shared memory.

    It does so when the last of them is gone, and vLLM leaves 400 MB a server if nobody does.
    """
    try:
        return b"multiprocessing.resource_tracker" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def end_session(session: int) -> None:
    """Kills every process of a session until none is left; resource trackers may finish their work first."""
    patience_ends = time.monotonic() + TRACKER_PATIENCE_S
    while members := list(session_members(session)):
        for pid in members:
            if is_resource_tracker(pid) and time.monotonic() < patience_ends:
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)  # the kernel takes a moment over gigabytes of memory


def main(command: list[str]) -> None:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    exited = os.pidfd_open(child.pid)
    select.select([sys.stdin, exited], [], [])
    end_session(child.pid)
    sys.exit(child.wait())


if __name__ == "__main__":
    main(sys.argv[1:])
