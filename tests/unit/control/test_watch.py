"""A file's changes are noticed, however it is changed, once it stands still."""

import asyncio
import os
from pathlib import Path

import pytest

from gateway.control.watch import FileWatch, fingerprint, watch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text("one")
    return path


def looks(file: FileWatch, count: int = 4) -> list[bool]:
    return [file.look() for _ in range(count)]


def test_a_file_that_stays_as_it_is_is_no_news(path: Path) -> None:
    assert looks(FileWatch(path)) == [False] * 4


def test_a_change_is_told_once_at_the_second_look(path: Path) -> None:
    file = FileWatch(path)
    path.write_text("another")
    assert looks(file) == [False, True, False, False]
    path.write_text("a third one")
    assert looks(file) == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_awaited(path: Path) -> None:
    file = FileWatch(path)
    for length in range(10, 15):
        path.write_text("x" * length)
        assert not file.look()
    assert file.look()


def test_another_file_of_the_same_size_and_time_is_noticed(path: Path, tmp_path: Path) -> None:
    file = FileWatch(path)
    other = tmp_path / "new"
    other.write_text("two")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert looks(file, 2) == [False, True]


def test_a_link_that_points_elsewhere_is_noticed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text("same")
    link = tmp_path / "current"
    link.symlink_to("a")
    file = FileWatch(link / "gateway.yaml")
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").rename(link)
    assert looks(file, 2) == [False, True]


def test_a_file_that_disappears_is_awaited(path: Path) -> None:
    file = FileWatch(path)
    path.unlink()
    assert looks(file) == [False] * 4
    path.write_text("back again")
    assert looks(file) == [False, True, False, False]


def test_a_file_that_is_not_there_has_no_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nothing") is None


async def test_the_watch_calls_back(path: Path) -> None:
    called = asyncio.Event()

    async def changed() -> None:
        called.set()

    task = asyncio.create_task(watch(path, changed, 0.002))
    await asyncio.sleep(0)
    await asyncio.to_thread(path.write_text, "another")
    async with asyncio.timeout(10):
        await called.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
