"""Keeps the list of what ran for real, and shows it at the end."""

from collections.abc import Callable

import pytest

_RAN = pytest.StashKey[dict[str, None]]()

Ran = Callable[[str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RAN] = {}


@pytest.fixture(scope="session")
def ran(pytestconfig: pytest.Config) -> Ran:
    """Call it with one line: which program, and what it did."""

    def note(line: str) -> None:
        pytestconfig.stash[_RAN][line] = None

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_RAN, {})
    if lines:
        terminalreporter.section("what ran for real")
        for line in lines:
            terminalreporter.write_line(f"  {line}")
