"""What `serve` says once it serves: as lines for a log, as a screen for a terminal."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from gateway.config import Address
from gateway.fleet.snapshot import Snapshot
from gateway.telemetry.scoreboard import Scoreboard
from gateway.terminal.start_screen import Front, announce, lines, reachable
from tests.integration.plain_fleet import LAYOUT, A, B, C, Fleet, fleet_of_three

FRONT = Front("9.9", Address("0.0.0.0", 8000), Address("127.0.0.1", 9090), workers=2)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    board = Scoreboard.create(LAYOUT)
    yield fleet_of_three(board)
    board.close()


def shown(fleet: Fleet, *, terminal: bool) -> list[str]:
    file = io.StringIO()
    announce(Console(file=file, force_terminal=terminal, color_system=None, width=100), FRONT, fleet)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_lines_are_one_fact_each(fleet: Fleet) -> None:
    assert list(lines(FRONT, fleet)) == [
        "vllm-gateway 9.9 listens on http://127.0.0.1:8000 with 2 workers",
        "admin and metrics on http://127.0.0.1:9090",
        "model chat: 2 of 2 replicas up, also gpt-4o, chat-sql, sql",
        f"replica {A}: up, serves chat",
        f"replica {B}: refused (HTTP 200), serves chat",
        f"replica {C}: up, serves chat",
        "warning: http://10.0.0.2:8000 serves other, not chat.",
        "clients: export OPENAI_BASE_URL=http://127.0.0.1:8000/v1",
    ]


def test_without_a_terminal_lines_are_printed(fleet: Fleet) -> None:
    assert shown(fleet, terminal=False) == list(lines(FRONT, fleet))


def test_on_a_terminal_only_what_is_unwell_is_listed(fleet: Fleet) -> None:
    screen = shown(fleet, terminal=True)
    assert "vllm-gateway 9.9" in screen
    assert "chat 2 of 2 replicas up also gpt-4o, chat-sql, sql" in screen
    assert f"{B} refused (HTTP 200)" in screen
    assert not [line for line in screen if A in line]
    assert "! http://10.0.0.2:8000 serves other, not chat." in screen
    assert "Clients export OPENAI_BASE_URL=http://127.0.0.1:8000/v1" in screen
    assert "Status page http://127.0.0.1:9090/" in screen


def test_a_fleet_without_models_says_what_to_wait_for(fleet: Fleet) -> None:
    fleet.snapshot = Snapshot(number=1)
    assert "No model yet: it appears as soon as a replica says what it serves." in shown(fleet, terminal=True)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address("", 80), "http://127.0.0.1:80"),
        (Address("::", 80), "http://127.0.0.1:80"),
        (Address("::1", 80), "http://[::1]:80"),
        (Address("gw.example", 80), "http://gw.example:80"),
    ],
)
def test_all_interfaces_are_reached_on_loopback(address: Address, url: str) -> None:
    assert reachable(address) == url
