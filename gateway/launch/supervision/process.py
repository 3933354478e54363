"""One vLLM server as a process tree under the guard: started, read, asked to end, and surely ended."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

from gateway.launch.command import ServeCommand
from gateway.launch.supervision import guard
from gateway.launch.supervision.log_files import LineSplitter

STOP_S = 15.0
"""How long a server may take to end when asked; vLLM needs some 4 s, more with large models."""
PIECE_BYTES = 1 << 16


class ServerProcess:
    """One run of one server. `hear` gets each line it prints."""

    def __init__(self, command: ServeCommand, hear: Callable[[str], None]) -> None:
        self._command = command
        self._hear = hear
        self._guard: Process | None = None
        self._asked = self._killed = False
        self._pid: int | None = None
        self.ended = asyncio.Event()
        """Set once nothing of it is left."""
        self.ending = ""
        """How it ended, in words; set when `ended` is."""

    async def run(self) -> None:
        """Start it and read what it prints, until nothing of it is left. Cancelled, it kills everything."""
        try:
            self._guard = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", guard.__file__, *self._command.argv),
                stdin=PIPE,
                stdout=PIPE,
                stderr=STDOUT,
                env=_environment(self._command),
                start_new_session=True,  # or Ctrl-C in the terminal would reach it before we do
            )
        except OSError as error:
            self.ending = f"it could not be started: {error.strerror or error}"
            self.ended.set()
            return
        try:
            self._obey()
            await self._read(self._guard)
        finally:
            await asyncio.shield(self._end(self._guard))

    def ask_to_end(self) -> None:
        """Let it finish in order (SIGTERM)."""
        self._asked = True
        self._obey()

    def kill(self) -> None:
        """End everything of it now."""
        self._killed = True
        self._obey()

    async def stop(self, limit_s: float = STOP_S) -> None:
        """Ask it to end, and kill what is left after `limit_s` seconds."""
        self.ask_to_end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.ended.wait()
        self.kill()
        await self.ended.wait()

    def resident_bytes(self) -> int:
        """The memory that its processes hold, with shared pages divided among those who share them."""
        pids = guard.members(self._pid) if self._pid is not None else ()
        return sum(map(_proportional_bytes, pids))

    def _obey(self) -> None:
        """Tell the guard what was asked of us; before it is there, this waits for it."""
        if self._guard is None or self._guard.stdin is None or self._guard.stdin.is_closing():
            return
        if self._asked:
            self._guard.stdin.write(b"T")
            self._asked = False
        if self._killed:
            self._guard.stdin.close()

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        lines = LineSplitter()
        while piece := await process.stdout.read(PIECE_BYTES):
            for line in lines.feed(piece):
                if self._pid is None and line.isdecimal():
                    self._pid = int(line)
                else:
                    self._hear(line)
        for line in lines.end():
            self._hear(line)

    async def _end(self, process: Process) -> None:
        self.kill()
        status = await process.wait()
        if self._pid is not None:
            # The guard has done this already, unless it was killed itself.
            await asyncio.to_thread(guard.end, self._pid)
        self.ending = _ending(status)
        self.ended.set()


def _environment(command: ServeCommand) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in command.clear_env}
    # Python in a pipe would keep its lines for itself until there are 8 KiB of them.
    return {"PYTHONUNBUFFERED": "1", **inherited, **command.env}


def _ending(status: int) -> str:
    number = status - 128 if status > 128 else -status  # noqa: PLR2004  (what the guard adds to a signal)
    if number > 0:
        with contextlib.suppress(ValueError):
            return f"it was ended by {signal.Signals(number).name}"
    return f"it ended with status {status}"


def _proportional_bytes(pid: int) -> int:
    """PSS of a process (proc_pid_smaps_rollup); 0 where the kernel does not tell."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
