"""Keeps the list of what ran for real, and shows it at the end."""

from collections.abc import Callable
from typing import Any

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


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several test processes tells the first one what ran in it."""
    if hasattr(session.config, "workeroutput"):
        lines = session.config.stash[_RAN]
        session.config.workeroutput["ran"] = list(lines)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What ran in another test process. One that crashed tells nothing."""
    told = getattr(node, "workeroutput", {}).get("ran", ())
    node.config.stash[_RAN].update(dict.fromkeys(told))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_RAN, {})
    if lines:
        terminalreporter.section("what ran for real")
        for line in lines:
            terminalreporter.write_line(f"  {line}")
