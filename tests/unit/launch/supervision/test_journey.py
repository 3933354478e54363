"""What one run of a server printed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.launch.memory.terms import GIB, MIB
from gateway.launch.supervision.journey import Journey
from gateway.launch.supervision.log_files import LogFile, last_lines

WEIGHTS = "(EngineCore pid=2) INFO [x] Model loading took 15.0 GiB memory and 3 seconds"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    log = LogFile(tmp_path / "log")
    yield log
    log.close()


def test_each_stage_is_told_once_until_it_has_arrived(log: LogFile, tmp_path: Path) -> None:
    told: list[str] = []
    journey = Journey(log, told.append)
    for line in (WEIGHTS, WEIGHTS, "INFO:     Started server process [1]"):
        journey.hear(line)
    assert journey.boot_log().weights_bytes == 15 * GIB
    journey.arrive()
    journey.hear(WEIGHTS)
    assert told == ["measuring memory", "opening its port"]
    assert len(last_lines(tmp_path / "log", 10)) == 4


def test_the_cause_is_quoted_rather_than_vllms_last_word(log: LogFile) -> None:
    journey = Journey(log, lambda _: None)
    for line in (
        "(EngineCore pid=2) ERROR 11-24 [core.py:9] KeyError: 'model.norm'",
        "RuntimeError: Engine core initialization failed. See root cause above.",
        "(APIServer pid=1) INFO bye",
    ):
        journey.hear(line)
    assert journey.failure() is None
    assert journey.last_error() == "KeyError: 'model.norm'"
    assert journey.missing_bytes() is None


def test_known_words_become_advice_and_a_number(log: LogFile) -> None:
    journey = Journey(log, lambda _: None)
    journey.hear(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 40.00 MiB. GPU 0 has a total capacity "
        "of 79.19 GiB of which 8.00 MiB is free."
    )
    failure = journey.failure()
    assert failure is not None
    assert "ran out of memory" in failure.advice
    assert journey.missing_bytes() == 32 * MIB


def test_a_quiet_end_has_no_words(log: LogFile) -> None:
    assert Journey(log, lambda _: None).last_error() == ""
