"""Logs: lines out of pieces, rotation, the end of a log, following it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.launch.supervision.log_files import (
    LONGEST_LINE_BYTES,
    Follower,
    LineSplitter,
    LogFile,
    last_lines,
    log_path,
    logged_labels,
)


def write(path: Path, *lines: str) -> None:
    log = LogFile(path)
    for line in lines or ("hello",):
        log.write(line)
    log.close()


@given(st.text(alphabet="ab\n\r é"), st.integers(1, 7))
def test_lines_are_the_same_however_the_output_is_cut(text: str, size: int) -> None:
    data, splitter = text.encode(), LineSplitter()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    lines = [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.end())
    assert lines == [line for line in text.replace("\r", "\n").split("\n") if line]


def test_a_progress_bar_is_many_lines() -> None:
    assert list(LineSplitter().feed(b"\r 0%\r 50%\r100%\n")) == [" 0%", " 50%", "100%"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    splitter = LineSplitter()
    lines = list(splitter.feed(b"x" * (2 * LONGEST_LINE_BYTES + 1)))
    assert [len(line) for line in lines] == [LONGEST_LINE_BYTES] * 2


def test_logs_are_rotated_and_their_end_is_read_over_the_rotation(tmp_path: Path) -> None:
    path = log_path(tmp_path, "chat")
    log = LogFile(path, file_bytes=500)
    for number in range(200):
        log.write(f"line {number:03}")
    log.close()
    assert len(list(path.parent.iterdir())) == 4
    assert last_lines(path, 60) == [f"line {number:03}" for number in range(140, 200)]
    assert last_lines(path, 0) == []


def test_a_follower_misses_nothing_when_the_log_is_rotated(tmp_path: Path) -> None:
    path = log_path(tmp_path, "chat")
    log = LogFile(path, file_bytes=1000)
    log.write("before")
    follower = Follower(path)
    seen: list[str] = []
    for number in range(200):
        log.write(f"line {number:03}")
        seen += follower.read()
    assert seen == [f"line {number:03}" for number in range(200)]
    follower.close()
    log.close()


def test_a_percent_sign_is_text(tmp_path: Path) -> None:
    path = log_path(tmp_path, "chat")
    write(path, "50% Completed %s %(x)d")
    assert last_lines(path, 5) == ["50% Completed %s %(x)d"]


def test_names_that_are_no_file_names_have_logs_too(tmp_path: Path) -> None:
    for label in ("Qwen/Qwen3-32B#2", "..", "x" * 256):
        path = log_path(tmp_path, label)
        assert path.parent == tmp_path / "logs"
        write(path)
    assert {"Qwen/Qwen3-32B#2", ".."} <= set(logged_labels(tmp_path))


def test_a_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    write(log_path(tmp_path, "chat"))
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0
