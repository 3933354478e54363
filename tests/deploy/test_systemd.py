"""The units, as systemd's own tool sees them. They are not started: that takes a machine run by systemd."""

from pathlib import Path

import pytest

from gateway.config.schema import Config
from gateway.control.workers import KILL_MARGIN_S
from tests.deploy.conftest import Ran
from tests.deploy.programs import DEPLOY, find, run, version

pytestmark = pytest.mark.deploy

FOLDER = DEPLOY / "systemd"
PROGRAM = "/opt/vllm-gateway/bin/vllm-gateway"
LARGEST_EXPOSURE = {"vllm-gateway": 1.5, "vllm-gateway-up": 4.0}
"""On systemd's scale of 0 (nothing to attack) to 10; an ordinary unit without hardening has 9.6."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Copies whose program is the one that is installed here."""
    for path in FOLDER.glob("*.service"):
        text = path.read_text("utf-8")
        assert PROGRAM in text
        (tmp_path / path.name).write_text(text.replace(PROGRAM, find("vllm-gateway")))
    return tmp_path


def setting(unit: str, name: str) -> str:
    (line,) = [
        line
        for line in (FOLDER / f"{unit}.service").read_text("utf-8").splitlines()
        if line.startswith(f"{name}=")
    ]
    return line.partition("=")[2]


@pytest.mark.parametrize("unit", sorted(LARGEST_EXPOSURE))
def test_systemd_understands_every_line_of_the_unit(unit: str, units: Path, ran: Ran) -> None:
    assert run("systemd-analyze", "verify", "--man=no", units / f"{unit}.service") == ""
    ran(f"{version('systemd-analyze', '--version')}: verify and security, both units (not started)")


@pytest.mark.parametrize("unit", sorted(LARGEST_EXPOSURE))
def test_the_unit_leaves_little_to_attack(unit: str, units: Path) -> None:
    threshold = f"--threshold={round(LARGEST_EXPOSURE[unit] * 10)}"
    run("systemd-analyze", "security", "--offline=true", "--no-pager", threshold, units / f"{unit}.service")


@pytest.mark.parametrize("unit", sorted(LARGEST_EXPOSURE))
def test_stopping_waits_for_running_answers(unit: str) -> None:
    assert (
        int(setting(unit, "TimeoutStopSec")) > Config.model_fields["shutdown_grace"].default + KILL_MARGIN_S
    )
    assert setting(unit, "KillMode") == "mixed"


def test_the_units_run_the_commands_that_they_are_for() -> None:
    for unit, command in (("vllm-gateway", "serve"), ("vllm-gateway-up", "up")):
        assert setting(unit, "ExecStart") == f"{PROGRAM} {command} -c /etc/vllm-gateway/gateway.yaml"
