"""Our commands as processes: run to their end, or watched while they run."""

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE_S = 40.0
_MARK = "TEST_RUN"


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str


async def command(*arguments: str, **environment: str) -> Done:
    """Run `vllm-gateway ARGUMENTS` to its end."""
    process = await _start(arguments, environment)
    out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode(), err.decode())


@dataclass
class Running:
    """A command that goes on. What it started carries the same mark in its environment."""

    process: Process
    mark: str
    lines: list[str] = field(default_factory=list)

    async def said(self, text: str) -> str:
        """Read its standard output up to the line that contains `text`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip("\n"))
                if text in line:
                    return line
        raise AssertionError(f"it ended without saying {text!r}: {await self.errors()}")

    async def ended(self) -> int:
        """Wait for its end and tell its exit status."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    async def errors(self) -> str:
        """All of its standard error, once it has ended."""
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    def signal_group(self, number: signal.Signals) -> None:
        """What a terminal does on Ctrl-C: everybody in the group gets it."""
        os.killpg(self.process.pid, number)

    def alive(self) -> list[int]:
        """The processes that carry our mark, where /proc shows them."""
        wanted = f"{_MARK}={self.mark}".encode()
        return [
            int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if wanted in _bytes(path)
        ]

    async def all_gone(self) -> None:
        """Wait until nothing of it is left."""
        deadline = time.monotonic() + DEADLINE_S
        while left := self.alive():
            assert time.monotonic() < deadline, f"still there: {left}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[Running]:
    """`vllm-gateway ARGUMENTS` in a process group of its own; whatever is left of it is killed at the end."""
    mark = uuid.uuid4().hex
    process = await _start(arguments, {**environment, _MARK: mark}, own_group=True)
    it = Running(process, mark)
    try:
        yield it
    finally:
        for pid in it.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.communicate()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


async def _start(
    arguments: tuple[str, ...], environment: dict[str, str], *, own_group: bool = False
) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "COLUMNS": "100", **environment},
        start_new_session=own_group,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile, or not ours
        return b""
