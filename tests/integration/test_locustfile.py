"""The Locust users against simulated replicas, headless, as `make load` runs them."""

import csv
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.bench.processes import Program, free_ports
from loadtests.bench.stage import wait_until_ready

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="locust comes with the extra `load`"
)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "gateway.sim", "--model", "demo", "--adapter", "tone=/tone"]
    with Program([*command, "--port", str(port), "--step-ms", "1"], tmp_path / "log") as program:
        wait_until_ready(port, program, "the replica")
        yield port


def run_locust(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    arguments = [
        "--headless",
        "-u",
        "8",
        "-r",
        "100",
        "-t",
        "3s",
        "--csv",
        str(folder / "load"),
        "--only-summary",
    ]
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "LOADTEST_THINK_MIN_S": "0", "LOADTEST_THINK_MAX_S": "0", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_kind_of_user_works_and_streams_have_entries_of_their_own(replica: int, tmp_path: Path) -> None:
    done = run_locust(
        tmp_path,
        LOADTEST_HOST=f"http://127.0.0.1:{replica}",
        LOADTEST_CHAT_WEIGHT="1",
        LOADTEST_ADAPTER_WEIGHT="1",
        LOADTEST_TOKENS_MIN="6",
        LOADTEST_TOKENS_MAX="12",
        LOADTEST_LONG_PROMPT_BYTES="4000",
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "load_stats.csv").open() as file:
        rows = {(row["Type"], row["Name"]): int(row["Request Count"]) for row in csv.DictReader(file)}
    for kind in ("chat", "adapter", "long prompt", "hang up"):
        assert rows["POST", kind] > 0
        assert rows["TTFT", kind] == rows["POST", kind]
        assert rows["ITL", kind] > 0
    assert rows["tokens/s", "chat"] == rows["POST", "chat"]
    requests = sum(count for (kind, _), count in rows.items() if kind in {"GET", "POST"})
    assert rows["", "Aggregated"] == requests


def test_a_wrong_setting_ends_locust_with_one_sentence(tmp_path: Path) -> None:
    done = run_locust(tmp_path, LOADTEST_TURNS="many")
    assert done.returncode == 1
    assert "locustfile: LOADTEST_TURNS=many is not a number" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_does_not_stream_right_is_a_failure_and_not_a_success(
    replica: int, tmp_path: Path
) -> None:
    done = run_locust(tmp_path, LOADTEST_HOST=f"http://127.0.0.1:{replica}", LOADTEST_MODELS="no-such-model")
    assert done.returncode == 1
    assert "status 404" in done.stdout + done.stderr
