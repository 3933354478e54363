"""Sentences for addresses that can't be listened on."""

import errno
import socket

import pytest

from gateway import cli
from gateway.config import Address
from gateway.terminal.failures import RUNTIME, cannot_listen, unexpected

HERE = Address("127.0.0.1", 1)


def test_a_port_in_use_names_the_process_where_it_can() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address("127.0.0.1", listening.getsockname()[1])
        failure = cannot_listen(address, OSError(errno.EADDRINUSE, "Address already in use"), "--listen")
    assert failure.exit_code == RUNTIME
    assert failure.message.startswith(f"{address} is in use")
    assert failure.message.endswith("; choose another address with --listen.")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EADDRINUSE, "Address already in use"),
            "127.0.0.1:1 is in use; choose another address with --listen.",
        ),
        (
            OSError(errno.EACCES, "Permission denied"),
            "127.0.0.1:1 needs more rights; choose a port from 1024 up with --listen.",
        ),
        (
            OSError(errno.EIO, "I/O error"),
            "127.0.0.1:1 can't be listened on: i/o error; choose another address with --listen.",
        ),
    ],
)
def test_each_reason_has_its_sentence(error: OSError, message: str) -> None:
    assert cannot_listen(HERE, error, "--listen").message == message


def test_of_a_group_of_errors_the_innermost_is_said() -> None:
    error = ExceptionGroup("tasks", [ExceptionGroup("more", [KeyError("slot")])])
    assert unexpected(error) == (
        "Error: something went wrong that should not (KeyError: 'slot'); "
        "set VLLM_GATEWAY_TRACEBACK=1 to see where."
    )
    assert "(MemoryError)" in unexpected(MemoryError())


def test_a_defect_ends_a_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defect(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cli, "cli", defect)
    with pytest.raises(SystemExit, match=r"^1$"):
        cli.main()
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("VLLM_GATEWAY_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main()
