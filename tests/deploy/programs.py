"""The real programs under test: found, run to their end, or kept running for a while."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), str(ROOT / ".venv/bin"), "/usr/sbin", "/sbin"))

_T = TypeVar("_T")


def find(name: str) -> str:
    """The program's path; a test that needs one that is not here is skipped."""
    path = shutil.which(name, path=SEARCHED)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str | Path, cwd: Path | None = None, read: str = "") -> str:
    """Run a program to its end, on some input; what it wrote, or a failed test when it was not content."""
    name, *arguments = map(str, command)
    done = subprocess.run(
        [find(name), *arguments], input=read, capture_output=True, text=True, cwd=cwd, check=False
    )
    written = done.stdout + done.stderr
    assert done.returncode == 0, f"{name} {' '.join(arguments)} says:\n{written}"
    return written


def version(name: str, *option: str) -> str:
    """The first line with which a program introduces itself."""
    return next(line for line in run(name, *option).splitlines() if line.strip())


@asynccontextmanager
async def started(*command: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program while it runs in the foreground; what it wrote is shown when the test fails."""
    name, *arguments = map(str, command)
    process = await asyncio.create_subprocess_exec(
        find(name), *arguments, stdin=DEVNULL, stdout=PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    said = asyncio.create_task(process.stdout.read())
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        sys.stdout.write((await said).decode())


async def eventually(ask: Callable[[], Awaitable[_T]], within_s: float, every_s: float = 0.1) -> _T:
    """Ask until the answer is something; a refused connection is no answer yet."""
    deadline = time.monotonic() + within_s
    while True:
        last: object = None
        try:
            if last := await ask():
                return last
        except OSError as error:
            last = error
        assert time.monotonic() < deadline, f"still {last!r} after {within_s:g} s"
        await asyncio.sleep(every_s)


async def listening(port: int, process: asyncio.subprocess.Process, within_s: float = 20.0) -> None:
    """Wait until the program accepts connections on the port."""

    async def connect() -> bool:
        assert process.returncode is None, "it ended instead of listening"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    await eventually(connect, within_s)
