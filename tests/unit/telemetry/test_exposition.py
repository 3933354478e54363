"""`/metrics`, parsed back by the official parsers and linted by promtool."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.fleet.snapshot import Pool, Replica, Snapshot, State
from gateway.telemetry.exposition import EngineNumbers, Facts, render
from gateway.telemetry.families import CODES, EJECTIONS, LOOP_LAG, OUTSTANDING, REQUESTS, TTFT
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, WORKER_OFFSETS, Layout, Shared
from gateway.telemetry.scoreboard import NS, Scoreboard

LAYOUT = Layout(workers=2, pools=4, replicas=8)
A, B = "http://10.0.0.1:8000", "http://10.0.0.2:8000"
FACTS = Facts(
    snapshot=Snapshot(
        number=7,
        pools={
            'qu"ote\\d': Pool(name='qu"ote\\d', slot=0),
            "chat": Pool(
                name="chat",
                slot=2,
                replicas=(
                    Replica(id=A, slot=3, state=State.UP),
                    Replica(id=B, slot=5, state=State.REFUSED, draining=True),
                ),
            ),
        },
    ),
    version="9.9",
    workers_up=2,
    worker_restarts=1,
    reloads={"ok": 3, "rejected": 0},
    engines={A: EngineNumbers(running=4, waiting=2, kv_usage=0.25)},
    hung={A: 3},
)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Labels = dict[str, str]


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(LAYOUT)
    yield board
    board.close()


def text(board: Scoreboard, facts: Facts = FACTS, now: float = 0.0) -> str:
    return render(board, facts, now, "")[0].decode()


def values(text: str, name: str) -> list[tuple[Labels, float]]:
    return [
        (sample.labels, sample.value)
        for family in parse_text(text)
        for sample in family.samples
        if sample.name == f"vllm_gateway_{name}"
    ]


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [value for got, value in values(text, name) if labels.items() <= got.items()]
    return found


def test_counters_are_summed_over_workers_by_model_and_code(board: Scoreboard) -> None:
    for worker, count in enumerate((2, 3)):
        at = LAYOUT.pool(worker, 2) + POOL_OFFSETS[REQUESTS.name]
        board.cells[at + CODES.index("404")] = count
    shown = text(board)
    assert value(shown, "requests_total", model="chat", code="404") == 5
    assert value(shown, "requests_total", model="chat", code="200") == 0
    assert not [labels for labels, _ in values(shown, "requests_total") if labels["code"] == "418"]


def test_histograms_have_cumulative_buckets_in_seconds(board: Scoreboard) -> None:
    at = LAYOUT.pool(1, 2) + POOL_OFFSETS[TTFT.name]
    board.cells[at + TTFT.bounds.index(0.1)] = 3
    board.cells[at + TTFT.bounds.index(0.5)] = 1
    board.cells[at + len(TTFT.bounds)] = 1
    board.cells[at + len(TTFT.bounds) + 1] = int(700.5 * NS)
    shown, name = text(board), "time_to_first_token_seconds"
    assert value(shown, f"{name}_bucket", model="chat", le="0.05") == 0
    assert value(shown, f"{name}_bucket", model="chat", le="0.25") == 3
    assert value(shown, f"{name}_bucket", model="chat", le="600.0") == 4
    assert value(shown, f"{name}_bucket", model="chat", le="+Inf") == 5
    assert value(shown, f"{name}_count", model="chat") == 5
    assert value(shown, f"{name}_sum", model="chat") == 700.5


def test_replica_numbers_carry_model_and_replica(board: Scoreboard) -> None:
    board.cells[LAYOUT.replica(0, 3) + REPLICA_OFFSETS[OUTSTANDING.name]] = 4
    board.cells[LAYOUT.replica(1, 3) + REPLICA_OFFSETS[OUTSTANDING.name]] = 5
    at = LAYOUT.replica(1, 5) + REPLICA_OFFSETS[EJECTIONS.name]
    board.cells[at + EJECTIONS.values.index("trial_failed")] = 2
    shown = text(board)
    assert value(shown, "replica_outstanding", model="chat", replica=A) == 9
    assert value(shown, "replica_ejections_total", replica=B, reason="trial_failed") == 2
    assert value(shown, "replica_ejections_total", replica=A, reason="trial_failed") == 0


def test_hangs_are_ejections_that_control_counts(board: Scoreboard) -> None:
    shown = text(board)
    assert value(shown, "replica_ejections_total", replica=A, reason="hung") == 3
    assert value(shown, "replica_ejections_total", replica=B, reason="hung") == 0


def test_worker_gauges_are_in_base_units_and_by_worker(board: Scoreboard) -> None:
    board.cells[LAYOUT.row(1) + WORKER_OFFSETS[LOOP_LAG.name]] = NS // 4
    assert value(text(board), "event_loop_lag_seconds", worker="1") == 0.25


def test_states_of_replicas_come_from_the_snapshot_and_the_board(board: Scoreboard) -> None:
    board.cells[LAYOUT.shared(3) + Shared.EJECTED_UNTIL] = 50 * NS
    shown = text(board, now=49.0)
    assert value(shown, "replica_up", replica=A) == 1
    assert value(shown, "replica_up", replica=B) == 0
    assert value(shown, "replica_draining", replica=B) == 1
    assert value(shown, "replica_ejected", replica=A) == 1
    assert value(text(board, now=51.0), "replica_ejected", replica=A) == 0


def test_control_shows_its_own_facts(board: Scoreboard) -> None:
    shown = text(board)
    assert value(shown, "replica_engine_running", replica=A) == 4
    assert value(shown, "replica_engine_waiting", replica=A) == 2
    assert value(shown, "replica_kv_cache_usage_ratio", replica=A) == 0.25
    assert not [labels for labels, _ in values(shown, "replica_engine_running") if labels["replica"] == B]
    assert value(shown, "workers_up") == 2
    assert value(shown, "worker_restarts_total") == 1
    assert value(shown, "snapshot_number") == 7
    assert value(shown, "config_reloads_total", outcome="ok") == 3
    assert value(shown, "build_info", version="9.9") == 1


def test_what_left_the_snapshot_is_no_longer_shown(board: Scoreboard) -> None:
    board.cells[LAYOUT.pool(0, 2) + POOL_OFFSETS[REQUESTS.name]] = 5
    assert "chat" not in text(board, Facts(Snapshot(number=8), version="9.9"))


def test_openmetrics_is_spoken_when_asked_for(board: Scoreboard) -> None:
    body, content_type = render(board, FACTS, 0.0, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert {"vllm_gateway_requests", "vllm_gateway_build", "vllm_gateway_replica_up"} <= names
    assert render(board, FACTS, 0.0, "*/*")[1].startswith("text/plain; version=0.0.4")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_about(board: Scoreboard) -> None:
    ours = "\n".join(line for line in text(board).splitlines() if "vllm_gateway" in line) + "\n"
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
