"""The results file and the documents made from it."""

from pathlib import Path

import pytest
from rich.console import Console

from loadtests.bench import report, storage, table
from loadtests.bench.errors import BenchError
from loadtests.bench.goals import CPU_EVENT, CPU_REQUEST
from loadtests.bench.measure import Measurement
from loadtests.bench.stats import Results

MEASURED = [
    Measurement("gateway", "S1", 0, "t", 0, "", {"good": 9.0, CPU_REQUEST: 90.0, "requests_per_s": 1234.0}),
    Measurement("vllm-router", "S1", 0, "t", 0, "", {"good": 9.0, CPU_REQUEST: 150.0}),
    Measurement("nginx", "S1", 0, "t", 3, "status 502: x | y", {"good": 9.0, CPU_REQUEST: 30.0}),
    Measurement("haproxy", "S1", 0, "t", 1, "ended at start: [alert] no port"),
    Measurement("nginx", "S3", 0, "t", 0, "", {"good": 9.0, CPU_EVENT: 20.0, "byte_exact_share": 0.5}),
]


@pytest.fixture
def recording(tmp_path: Path) -> storage.Recording:
    path = tmp_path / "results.jsonl"
    storage.begin(path, {"cores": "2"}, {"nginx": "1.22.1"}, "python -m loadtests.bench run")
    for measurement in MEASURED:
        storage.add(path, measurement)
    return storage.read(path)


def test_a_results_file_gives_back_what_was_written(recording: storage.Recording) -> None:
    assert list(recording.measurements) == MEASURED
    assert recording.commands == ("python -m loadtests.bench run",)
    assert recording.has("nginx", "S1", 0)
    assert not recording.has("nginx", "S1", 1)


def test_a_missing_or_foreign_results_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="there are no results"):
        storage.read(tmp_path / "nothing")
    (tmp_path / "foreign").write_text('{"kind": "measurement", "who": 1}\n')
    with pytest.raises(BenchError, match="is not a results file"):
        storage.read(tmp_path / "foreign")


def test_the_report_shows_where_others_are_better(recording: storage.Recording) -> None:
    text = report.write(recording, None)
    assert "- S1 CPU µs/request: 3.00 times that of nginx" in text
    assert "times that of vllm-router" not in text
    assert "| S1 | CPU/request | goal | at most 0.80 x vllm-router | 0.60 (0.60 to 0.60) | reached |" in text


def test_the_report_tells_errors_altered_bytes_and_what_was_run_on_what(recording: storage.Recording) -> None:
    text = report.write(recording, {"summary": {"requests": 1000}})
    assert "- S1 nginx: 3 requests did not end well: status 502" in text
    assert "- S3 nginx: 50% of the streams came through byte for byte" in text
    for part in (
        "| cores | 2 |",
        "| nginx | 1.22.1 |",
        "    python -m loadtests.bench run",
        "| requests | 1000 |",
    ):
        assert part in text


def test_a_cell_with_a_bar_does_not_break_the_table() -> None:
    assert report.markdown_row(["a|b", "c\nd"]) == "| a/b | c d |"


def test_the_terminal_shows_ratios_goals_and_notes() -> None:
    console = Console(width=160, record=True, quiet=False, file=None)
    with console.capture() as captured:
        table.show(console, Results(MEASURED), "gateway")
    shown = captured.get()
    assert "0.60" in shown
    assert "not measured" in shown
    assert "3 requests did not end well" in shown
    assert "S1 haproxy: a run failed: ended at start: [alert] no port" in shown
