"""Who holds a port: from a /proc made of files, and from the real one."""

import os
import socket
import sys
from pathlib import Path

import pytest

from gateway.terminal.ports import holder

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENING = (
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1\n"
)
CONNECTED = (
    "   1: 0100007F:1F91 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4343 1\n"
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(HEADER + LISTENING + CONNECTED)
    for pid, inode, command in ((7, 1, b"init\0"), (311, 4242, b"python3\0-m\0http.server\0")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
    return tmp_path


def test_the_listening_process_is_named_with_its_command(proc: Path) -> None:
    assert holder(8080, proc) == "process 311 (python3 -m http.server)"


def test_a_connection_from_that_port_is_not_a_listener(proc: Path) -> None:
    assert holder(8081, proc) is None


def test_a_socket_that_nobody_shows_has_no_holder(proc: Path) -> None:
    (proc / "311" / "fd" / "3").unlink()
    assert holder(8080, proc) is None


def test_a_long_command_is_cut(proc: Path) -> None:
    (proc / "311" / "cmdline").write_bytes(b"x" * 200)
    assert holder(8080, proc) == f"process 311 ({'x' * 57}...)"


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert holder(8080, tmp_path / "none") is None


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_our_own_socket_is_found(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listening:
        found = holder(listening.getsockname()[1])
    assert found is not None
    assert found.startswith(f"process {os.getpid()} (")
