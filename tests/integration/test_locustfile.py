"""The load profiles against simulated replicas: as Locust runs them, and what they look at before."""

import contextlib
import csv
import http.client
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtests.bench.processes import Program, free_ports
from loadtests.llm.fleet import Fleet, FleetError, look_up
from loadtests.llm.profiles import ProfileError
from loadtests.llm.settings import Settings

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
needs_locust = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="locust comes with the extra `load`"
)
PROFILES = """
[profiles.short]
about = "Every kind of user of tokens"
users = 8
seconds = 6
arrival = "two"
target_s = 30
mix = [
  { name = "chat", share = 2, shared = 20, prompt = [5, 20], answer = [6, 12], turns = 2, think_s = [0, 1] },
  { name = "hang up", share = 1, prompt = [5, 20], answer = [40, 50], leaves = 3, think_s = [0, 0.1] },
  { name = "adapter", share = 1, model = "adapter", prompt = [5, 20], answer = [6, 12], think_s = [0, 0.1] },
]

[profiles.vectors]
about = "Texts"
users = 2
seconds = 2
arrival = "one"
target_s = 30
mix = [{ name = "texts", share = 1, model = "embedding", prompt = [5, 20], texts = 3, think_s = [0, 0.1] }]

[arrivals]
one = [1]
two = [0.5, 1]
"""


@contextlib.contextmanager
def replica(folder: Path, *arguments: str) -> Iterator[str]:
    """The URL of a simulated replica."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "gateway.sim", "--port", str(port), "--step-ms", "1", *arguments]
    with Program(command, folder / "replica.log") as program:
        wait_until(lambda: status(port, "GET", "/health") == 200, program)
        yield f"http://127.0.0.1:{port}"


def wait_until(true: Callable[[], bool], program: Program) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert not program.has_ended(), program.complaint()
        assert time.monotonic() < deadline, program.complaint()
        time.sleep(0.05)


def status(port: int, method: str, path: str, form: str = "") -> int:
    """The status of an answer; 0 if nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        try:
            connection.request(method, path, form, {"Content-Type": "application/x-www-form-urlencoded"})
            return connection.getresponse().status
        except OSError:
            return 0


CHATTING = ("--model", "demo", "--adapter", "tone=/tone")


def settings(folder: Path, profile: str, host: str) -> dict[str, str]:
    (folder / "profiles.toml").write_text(PROFILES, encoding="utf-8")
    return {
        "LOADTEST_PROFILE": profile,
        "LOADTEST_PROFILES": str(folder / "profiles.toml"),
        "LOADTEST_HOST": host,
        "LOADTEST_REPORTS": str(folder / "reports"),
    }


def run_locust(folder: Path, profile: str, host: str, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--headless", "--only-summary", "--csv", str(folder / "load"), *more]
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **settings(folder, profile, host)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@needs_locust
def test_a_profile_runs_and_its_report_is_where_the_last_line_says(tmp_path: Path) -> None:
    with replica(tmp_path, *CHATTING) as host:
        done = run_locust(tmp_path, "short", host)
    assert done.returncode == 0, done.stderr
    rows = {
        (row["Type"], row["Name"]): int(row["Request Count"]) for row in read_csv(tmp_path / "load_stats.csv")
    }
    for kind in ("chat", "adapter", "hang up"):
        assert rows["POST", kind] > 0
        assert rows["TTFT", kind] == rows["POST", kind]
        assert rows["ITL", kind] > 0
    assert rows["", "Aggregated"] == sum(count for (kind, _), count in rows.items() if kind == "POST")
    named = re.search(r"^Report: (\S+)/report\.html ", done.stdout, re.MULTILINE)
    assert named is not None, done.stdout
    folder = Path(named[1])
    assert folder.parent == tmp_path / "reports"
    levels = read_csv(folder / "levels.csv")
    assert [level["users"] for level in levels] == ["4", "8"]
    assert all(float(level["ttft_p95"]) > 0 and float(level["tokens_per_s_output"]) > 0 for level in levels)
    assert "TTFT p95 within 30 s is kept up to 8 users" in done.stdout
    assert "TTFT p95 within 30 s is kept up to 8 users" in (folder / "report.html").read_text(
        encoding="utf-8"
    )
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "chat" in (folder / "locust.html").read_text(encoding="utf-8")


@needs_locust
def test_the_web_ui_says_what_is_missing_and_reports_at_each_stop(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--web-host", "127.0.0.1"]
    with (
        replica(tmp_path, "--model", "bge", "--pooling") as host,
        Program(
            [*command, "--web-port", str(port)], tmp_path / "web.log", env=settings(tmp_path, "vectors", host)
        ) as web,
    ):
        wait_until(lambda: status(port, "GET", "/") == 200, web)
        form = "user_count=2&spawn_rate=1&run_time=2s&host="
        assert status(port, "POST", "/swarm", form + "http://127.0.0.1:1") == 200
        wait_until(lambda: "Nothing listens at http://127.0.0.1:1;" in web.log.read_text(), web)
        assert status(port, "POST", "/swarm", form + host) == 200
        wait_until(lambda: "Report: " in web.log.read_text(), web)
    assert list(tmp_path.glob("reports/vectors-*/report.html"))


@needs_locust
def test_several_processes_of_locust_report_together(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    spread = ("--processes", "2", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port))
    with replica(tmp_path, "--model", "bge", "--pooling") as host:
        done = run_locust(
            tmp_path, "vectors", host, *spread, "--master-port", str(port), "-t", "7s", "-u", "3"
        )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "reports").iterdir()
    (level,) = read_csv(folder / "levels.csv")
    assert level["users"] == "3"
    assert float(level["answer_p95"]) > 0
    assert float(level["tokens_per_s_prompt"]) > 0


@needs_locust
def test_a_server_that_refuses_is_a_failure_and_not_a_success(tmp_path: Path) -> None:
    with replica(tmp_path, *CHATTING, "--fault", "status=503") as host:
        done = run_locust(tmp_path, "short", host)
    assert done.returncode == 1
    assert re.search(r"chat: status 503: ", done.stderr), done.stderr
    assert "100 % of the requests failed" in done.stdout


@needs_locust
@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("nope", "locustfile: There is no profile 'nope'; there are short, vectors."),
        ("short", "locustfile: Nothing listens at {host}; `make demo` starts something that does."),
    ],
)
def test_what_can_not_begin_ends_with_one_sentence(tmp_path: Path, profile: str, said: str) -> None:
    (port,) = free_ports(1)
    host = f"http://127.0.0.1:{port}"
    done = run_locust(tmp_path, profile, host)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == said.format(host=host)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_models_are_found_with_their_sort(tmp_path: Path) -> None:
    with replica(tmp_path, *CHATTING) as host:
        assert look_up(host, "") == Fleet(host, base=("demo",), adapter=("tone",), embedding=())
        assert look_up(f"{host}/", "").base == ("demo",)
    with replica(tmp_path, "--model", "bge", "--pooling") as host:
        assert look_up(host, "") == Fleet(host, base=(), adapter=(), embedding=("bge",))


def test_a_key_that_is_missing_or_wrong_is_one_sentence(tmp_path: Path) -> None:
    with replica(tmp_path, *CHATTING, "--api-key", "secret") as host:
        assert look_up(host, "secret").base == ("demo",)
        for key in ("", "wrong"):
            with pytest.raises(FleetError) as caught:
                look_up(host, key)
            assert str(caught.value) == f"{host} asks for a key that it knows; set LOADTEST_API_KEY."


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1:8000", "'127.0.0.1:8000' is not an address like http://127.0.0.1:8000."),
        ("http://127.0.0.1:99999", "http://127.0.0.1:99999 can't be asked for its models: "),
        ("http://no-such-host.invalid", "http://no-such-host.invalid can't be asked for its models: "),
    ],
)
def test_an_address_that_leads_nowhere_is_one_sentence(host: str, said: str) -> None:
    with pytest.raises(FleetError) as caught:
        look_up(host, "")
    assert str(caught.value).startswith(said)


def test_a_load_asks_its_server_once_and_again_when_it_begins_anew(tmp_path: Path) -> None:
    from loadtests.load import Load

    with replica(tmp_path, *CHATTING) as host:
        load = Load(Settings(host=host, profile="adapters", models=("tone", "demo")))
        begun = load.begin(host, users=4, seconds=10)
        assert (begun.peak, begun.seconds) == (4, 10)
        known = load.fleet(host)
        assert load.fleet(host) is known
        load.timeline.answered(time.time(), time.time(), 10, failed=False)
        assert load.end([]) is None, "not even a second has been seen"
    with pytest.raises(FleetError, match="Nothing listens at"):
        load.begin(host, users=4, seconds=10)


def test_an_arrival_that_nobody_describes_ends_before_anything_begins() -> None:
    from loadtests.load import Load

    with pytest.raises(ProfileError) as caught:
        Load(Settings(arrival="storm"))
    assert str(caught.value) == "There is no arrival 'storm'; there are burst, soak, steady, step."
