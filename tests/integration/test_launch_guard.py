"""The guard beside each launched server: nothing that the server started outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.launch.supervision import guard

DEADLINE_S = 20.0
# Its parent ends at once and it has left the session: nobody in the command's family knows it any more.
ORPHAN = """
import subprocess, sys
middle = (
    "import subprocess, sys; child = [sys.executable, '-c', 'import time; time.sleep(1e6)'];"
    "print(subprocess.Popen(child, start_new_session=True, stdout=subprocess.DEVNULL).pid)"
)
print("orphan", subprocess.check_output([sys.executable, "-c", middle]).decode().strip(), flush=True)
"""
STAY = "import time; time.sleep(1e6)"
OBEY = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('ready', flush=True);"
    "signal.pause()"
)


@contextmanager
def guarded(program: str, python: str = sys.executable) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, guard.__file__, python, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def close(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_an_orphan_that_left_the_session_ends_with_the_command() -> None:
    with guarded(ORPHAN) as process:
        line(process)
        orphan = int(line(process).split()[1])
        assert process.wait(DEADLINE_S) == 0
        assert not lives(orphan)


def test_the_end_of_the_asker_is_the_end_of_all() -> None:
    with guarded(ORPHAN + STAY) as process:
        command, orphan = int(line(process)), int(line(process).split()[1])
        assert lives(command)
        assert lives(orphan)
        close(process)
        assert process.wait(DEADLINE_S) == 128 + signal.SIGKILL
        assert not lives(command)
        assert not lives(orphan)


def test_a_byte_asks_the_command_to_end_in_order() -> None:
    with guarded(OBEY) as process:
        line(process)
        assert line(process) == "ready"
        assert process.stdin is not None
        process.stdin.write("T")
        process.stdin.flush()
        assert process.wait(DEADLINE_S) == 7


def test_the_command_does_not_outlive_a_killed_guard() -> None:
    with guarded(STAY) as process:
        command = int(line(process))
        process.kill()
        wait_until(lambda: not lives(command))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_guard_ends_only_with_its_server_or_its_asker(number: signal.Signals) -> None:
    with guarded(OBEY) as process:
        line(process)
        line(process)
        process.send_signal(number)
        close(process)
        assert process.wait(DEADLINE_S) == 128 + signal.SIGKILL


def test_a_command_that_cannot_be_run_is_said() -> None:
    with guarded(STAY, python="/no/such/program") as process:
        line(process)
        assert line(process) == "cannot run /no/such/program: no such file or directory"
        assert process.wait(DEADLINE_S) == guard.CANNOT_RUN


def test_those_with_a_mark_are_found_wherever_they_are() -> None:
    mark = f"GUARD_TEST={os.getpid()}"
    name, _, value = mark.partition("=")
    with subprocess.Popen(
        [sys.executable, "-c", STAY], env={name: value}, start_new_session=True, stdin=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: process.pid in guard.members(-1, mark=mark))
        guard.end(-1, mark=mark)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
