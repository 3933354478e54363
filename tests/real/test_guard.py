"""The guard of the real tests, tried on programs that need no vLLM: nothing may survive its asker."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.guarded import GuardedProcess, free_ports, wait_until

# leads a session, has a child that ignores SIGTERM, says so, and then only waits
STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); "
subprocess.Popen([sys.executable, "-c", child + "time.sleep(600)"])
time.sleep(600)
"""


def is_logged(process: GuardedProcess, text: str) -> bool:
    return text in process.log.read_text()


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[GuardedProcess]:
    process = GuardedProcess([sys.executable, "-c", STUBBORN], {}, free_ports(1)[0], tmp_path / "log")
    process.start()
    wait_until(lambda: is_logged(process, "ready"), "the child of the process has started")
    yield process
    process.stop()


def test_stopping_ends_a_process_and_its_children_whatever_they_ignore(stubborn: GuardedProcess) -> None:
    assert len(list(stubborn.members())) == 2
    stubborn.stop()
    assert not stubborn.is_running


def test_children_do_not_outlive_the_process_that_started_them(stubborn: GuardedProcess) -> None:
    os.kill(stubborn.pid, signal.SIGKILL)
    wait_until(lambda: not stubborn.is_running, "the orphan is gone")


def test_a_process_does_not_outlive_its_asker(tmp_path: Path) -> None:
    asker = f"""
import sys, time
from pathlib import Path
from tests.real.guarded import GuardedProcess
process = GuardedProcess([sys.executable, "-c", {STUBBORN!r}], {{}}, 1, Path({str(tmp_path / "log")!r}))
print(process.start().pid, flush=True)
time.sleep(600)
"""
    outer = GuardedProcess(
        [sys.executable, "-c", asker], {"PYTHONPATH": str(Path.cwd())}, 1, tmp_path / "asker.log"
    )
    outer.start()
    wait_until(lambda: outer.log.read_text().endswith("\n"), "the asker has started its process")
    inner = GuardedProcess([], {}, 1, tmp_path / "log")
    inner.pid = int(outer.log.read_text())
    assert inner.is_running
    outer.stop()
    wait_until(lambda: not inner.is_running, "the process is gone")


def test_a_program_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    process = GuardedProcess(command, {}, free_ports(1)[0], tmp_path / "log").start()
    with pytest.raises(RuntimeError, match="no such model"):
        process.wait_ready()
    process.stop()
