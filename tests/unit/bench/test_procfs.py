"""Reading /proc."""

import os
import subprocess
import sys
import time

import pytest

from loadtests.bench import procfs

STAT = "42 (a (b) c) S 7 42 9 0 -1 4194560 1 2 3 4 100 50 20 10 20 0 3 0 1000 0 0"


def test_a_stat_line_is_read_past_brackets_and_blanks_in_the_name() -> None:
    stat = procfs.parse_stat(STAT)
    assert (stat.pid, stat.parent, stat.session, stat.state) == (42, 7, 9, "S")
    assert stat.cpu_s == pytest.approx(180 / procfs.TICKS_PER_S)


def test_pss_is_the_line_named_pss_and_not_one_that_begins_like_it() -> None:
    assert procfs.parse_pss_bytes("Rss:  10 kB\nPss_Dirty:  4 kB\nPss:  7 kB\n") == 7 * 1024
    assert procfs.parse_pss_bytes("") == 0


def test_a_family_holds_children_even_in_sessions_of_their_own() -> None:
    """A gateway's workers may be session leaders; their cost is the gateway's all the same."""
    child = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while len(family := procfs.family(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.pid in family
        assert len(family) == 2
        assert os.getpid() not in family
        assert procfs.pss_bytes(process.pid) > 1_000_000
        assert procfs.open_files(process.pid) >= 6
    finally:
        for pid in procfs.family(process.pid):
            os.kill(pid, 9)
        process.wait()


def test_cpu_time_counts_children_that_have_ended() -> None:
    before = procfs.cpu_s(os.getpid())
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert procfs.cpu_s(os.getpid()) - before >= 0.19


def test_the_machine_has_been_busy_at_least_as_long_as_this_process() -> None:
    assert procfs.machine_time().busy_s >= procfs.cpu_s(os.getpid()) > 0


def test_a_process_that_does_not_exist_has_no_family() -> None:
    assert procfs.family(2**22 + 1) == {}
