"""Numbers from start-up logs of several versions, and how the next plan uses them."""

from pathlib import Path

import pytest

from gateway.launch.bootlog import BootLog, parse_boot_log
from gateway.launch.calibration import FILE_NAME, Calibration, load_calibration, save_calibration
from gateway.launch.memory.terms import GIB, Origin
from gateway.launch.placement.placing import place
from tests.unit.launch.builders import LLAMA_8B, h100, request

LOGS = Path(__file__).parents[2] / "data" / "memory" / "logs"


def _parsed(name: str) -> BootLog:
    return parse_boot_log((LOGS / f"{name}.log").read_text().splitlines())


def _gib(size: int | None) -> float | None:
    return None if size is None else round(size / GIB, 2)


def test_version_0_10_is_read() -> None:
    log = _parsed("vllm_0_10")
    assert log.version == "0.10.1.1"
    assert (_gib(log.weights_bytes), _gib(log.available_kv_bytes), _gib(log.graph_bytes)) == (
        14.25,
        24.83,
        0.5,
    )
    assert (log.kv_tokens, log.max_concurrency, log.max_model_len) == (464848, 28.37, 16384)


def test_the_debug_line_of_0_11_is_read() -> None:
    log = _parsed("vllm_0_11_debug")
    assert (_gib(log.weights_bytes), _gib(log.activation_bytes), _gib(log.non_torch_bytes)) == (
        1.24,
        0.22,
        0.09,
    )


def test_version_0_32_counts_the_graph_estimate_out_of_the_activation_peak() -> None:
    log = _parsed("vllm_0_32")
    assert log.version == "0.32.0"
    assert _gib(log.activation_bytes) == 0.85
    assert _gib(log.non_torch_bytes) == 0.56
    assert (log.kv_tokens, log.max_concurrency) == (313650, 1.2)


def test_the_cpu_log_is_read() -> None:
    log = _parsed("vllm_0_32_cpu")
    assert (log.version, log.kv_tokens, log.max_concurrency) == ("0.32.0", 65536, 32.0)
    assert _gib(log.available_kv_bytes) == 0.06


def test_a_log_without_numbers_is_empty() -> None:
    assert parse_boot_log(["nothing here", "version 0.30.0"]).is_empty


def test_the_next_plan_uses_what_was_measured_and_says_so(tmp_path: Path) -> None:
    first = place([request(LLAMA_8B)], [h100()]).instances[0]
    log = BootLog(
        "0.33.0", weights_bytes=16 * GIB, activation_bytes=GIB, graph_bytes=GIB // 2, non_torch_bytes=0
    )
    save_calibration(Calibration().learned(first, h100(), log), tmp_path)
    again = place([request(LLAMA_8B)], [h100()], load_calibration(tmp_path)).instances[0]
    assert again.budget.weights.size_bytes == 16 * GIB
    assert again.origins["activation"] is Origin.MEASURED
    assert again.kv_bytes != first.kv_bytes


def test_numbers_of_another_batch_size_apply_to_the_weights_only() -> None:
    first = place([request(LLAMA_8B, max_num_seqs=64)], [h100()]).instances[0]
    log = BootLog(weights_bytes=16 * GIB, activation_bytes=GIB)
    calibration = Calibration().learned(first, h100(), log)
    other = place([request(LLAMA_8B, max_num_seqs=128)], [h100()], calibration).instances[0]
    assert other.origins["weights"] is Origin.MEASURED
    assert other.origins["activation"] is Origin.FITTED


def test_numbers_of_another_model_do_not_apply() -> None:
    first = place([request(LLAMA_8B, "a")], [h100()]).instances[0]
    calibration = Calibration().learned(first, h100(), BootLog(weights_bytes=16 * GIB))
    other = place([request(LLAMA_8B, "b")], [h100()], calibration).instances[0]
    assert other.origins["weights"] is Origin.CONFIG


def test_what_the_processes_really_hold_replaces_the_fitted_context() -> None:
    planned = place([request(LLAMA_8B)], [h100()]).instances[0]
    log = BootLog(weights_bytes=15 * GIB, graph_bytes=GIB, non_torch_bytes=0)
    used = planned.kv_bytes + 15 * GIB + GIB + int(0.9 * GIB)
    calibration = Calibration().learned(planned, h100(), log, used)
    again = place([request(LLAMA_8B)], [h100()], calibration).instances[0]
    assert again.budget.context.size_bytes == pytest.approx(0.9 * GIB, rel=0.001)
    assert again.origins["context"] is Origin.MEASURED


def test_a_later_start_replaces_an_earlier_one() -> None:
    planned = place([request(LLAMA_8B)], [h100()]).instances[0]
    calibration = Calibration()
    for gib in (16, 17):
        calibration = calibration.learned(planned, h100(), BootLog(weights_bytes=gib * GIB))
    assert [record.weights_bytes for record in calibration.records] == [17 * GIB]


def test_what_another_version_measured_counts_for_the_weights_only() -> None:
    planned = place([request(LLAMA_8B)], [h100()]).instances[0]
    log = BootLog("0.32.1", weights_bytes=16 * GIB, activation_bytes=GIB)
    again = place([request(LLAMA_8B)], [h100()], Calibration().learned(planned, h100(), log)).instances[0]
    assert again.origins["weights"] is Origin.MEASURED
    assert again.origins["activation"] is Origin.FITTED


def test_what_a_start_lacked_is_set_aside_in_the_next_plan_which_says_so(tmp_path: Path) -> None:
    first = place([request(LLAMA_8B)], [h100()]).instances[0]
    calibration = Calibration().lacked(first, h100(), BootLog(), GIB)
    save_calibration(calibration.lacked(first, h100(), BootLog(), GIB), tmp_path)
    again = place([request(LLAMA_8B)], [h100()], load_calibration(tmp_path)).instances[0]
    assert again.budget.context.size_bytes == first.budget.context.size_bytes + 2 * GIB
    assert again.used_bytes <= first.used_bytes
    assert "an earlier start lacked 2.00 GiB, which are set aside for it now" in again.warnings


def test_a_failed_start_leaves_what_earlier_ones_measured() -> None:
    planned = place([request(LLAMA_8B)], [h100()]).instances[0]
    log = BootLog(weights_bytes=15 * GIB, activation_bytes=GIB)
    failed = Calibration().learned(planned, h100(), log, planned.used_bytes)
    (record,) = failed.lacked(planned, h100(), BootLog(weights_bytes=16 * GIB), GIB).records
    assert (record.weights_bytes, record.activation_bytes, record.lacking_bytes) == (16 * GIB, GIB, GIB)
    assert record.context_bytes is not None


def test_a_start_that_was_measured_makes_a_shortage_forgotten() -> None:
    planned = place([request(LLAMA_8B)], [h100()]).instances[0]
    short = Calibration().lacked(planned, h100(), BootLog(weights_bytes=15 * GIB), GIB)
    log = BootLog(weights_bytes=15 * GIB)
    assert [record.lacking_bytes for record in short.learned(planned, h100(), log).records] == [GIB]
    measured = short.learned(planned, h100(), log, planned.used_bytes)
    assert [record.lacking_bytes for record in measured.records] == [None]


def test_an_empty_log_teaches_nothing() -> None:
    planned = place([request(LLAMA_8B)], [h100()]).instances[0]
    assert Calibration().learned(planned, h100(), BootLog(version="0.30.0")).records == ()


@pytest.mark.parametrize("content", ["", "{", '{"format": 99, "records": []}', '{"records": [{"model": 3}]}'])
def test_a_calibration_file_that_cannot_be_used_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    assert load_calibration(tmp_path).records == ()
    assert load_calibration(tmp_path / "nowhere").records == ()
