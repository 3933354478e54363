"""A file's changes are noticed, however it is changed."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control.watch import fingerprint, watch

INTERVAL_S = 0.005


class Changes:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.count < count:  # noqa: ASYNC110  (a file has no event)
                await asyncio.sleep(INTERVAL_S)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def move(path: Path, to: Path) -> None:
    path.rename(to)


def times(path: Path) -> tuple[int, int]:
    return path.stat().st_atime_ns, path.stat().st_mtime_ns


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text("one")
    return path


@pytest.fixture
async def changes(path: Path) -> AsyncIterator[Changes]:
    changes = Changes()
    task = asyncio.create_task(watch(path, changes, INTERVAL_S))
    await asyncio.sleep(0)
    yield changes
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_file_that_is_written_over_is_noticed_once(path: Path, changes: Changes) -> None:
    write(path, "another")
    await changes.reach(1)
    write(path, "a third one")
    await changes.reach(2)
    assert changes.count == 2


async def test_a_file_that_is_replaced_by_another_of_the_same_size_and_time_is_noticed(
    path: Path, changes: Changes, tmp_path: Path
) -> None:
    other = tmp_path / "new"
    other.write_text("two")
    os.utime(other, ns=times(path))
    other.rename(path)
    await changes.reach(1)


async def test_a_link_that_points_elsewhere_is_noticed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text(name)
    link = tmp_path / "current"
    link.symlink_to("a")
    changes = Changes()
    task = asyncio.create_task(watch(link / "gateway.yaml", changes, INTERVAL_S))
    await asyncio.sleep(0)
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").rename(link)
    await changes.reach(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_file_that_disappears_is_awaited(path: Path, changes: Changes, tmp_path: Path) -> None:
    move(path, tmp_path / "elsewhere")
    await asyncio.sleep(INTERVAL_S * 5)  # so that it is missed
    assert changes.count == 0
    write(path, "back again")
    await changes.reach(1)


def test_a_file_that_is_not_there_has_no_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nothing") is None
