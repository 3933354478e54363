"""One vLLM server as a process tree under the guard: started, read, asked to end, and surely ended."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from gateway.launch.command import ServeCommand
from gateway.launch.supervision import guard
from gateway.launch.supervision.log_files import LineSplitter

STOP_S = 15.0
"""How long a server may take to end when asked; vLLM needs some 4 s, more with large models."""
LAST_WORDS_S = 5.0
"""How long its last output may take to arrive once nothing of it is left."""
MARK = "VLLM_GATEWAY_SERVER"
"""Environment variable with a word that only one run's processes have."""

_STDIN, _STDOUT = 0, 1


class _Guard(asyncio.SubprocessProtocol):
    """The guard's end of life and its server's output. An end is known even while somebody holds the pipe."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self._receive(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == _STDOUT:
            self.silent.set()

    def process_exited(self) -> None:
        self.exited.set()


class ServerProcess:
    """One run of one server. `hear` gets each line it prints."""

    def __init__(self, command: ServeCommand, hear: Callable[[str], None]) -> None:
        self._command = command
        self._hear = hear
        self._mark = uuid.uuid4().hex
        self._lines = LineSplitter()
        self._transport: asyncio.SubprocessTransport | None = None
        self._asked = self._killed = False
        self._pid: int | None = None
        self.ended = asyncio.Event()
        """Set once nothing of it is left."""
        self.ending = ""
        """How it ended, in words; set when `ended` is."""

    async def run(self) -> None:
        """Start it and hear it, until nothing of it is left. Cancelled, it kills everything."""
        try:
            transport, protocol = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Guard(self._receive),
                *(sys.executable, "-S", "-E", guard.__file__, *self._command.argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(self._command, self._mark),
                start_new_session=True,  # or Ctrl-C in the terminal would reach it before we do
            )
        except OSError as error:
            self.ending = f"it could not be started: {error.strerror or error}"
            self.ended.set()
            return
        self._transport = transport
        try:
            self._obey()
            await protocol.exited.wait()
        finally:
            await asyncio.shield(self._end(transport, protocol))

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
        if self._transport is None:
            return
        # A cast, since uvloop's transports derive from no class of asyncio's.
        stdin = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(_STDIN))
        if stdin is None or stdin.is_closing():
            return
        if self._asked:
            stdin.write(b"T")
            self._asked = False
        if self._killed:
            stdin.close()

    def _receive(self, data: bytes) -> None:
        self._tell(self._lines.feed(data))

    def _tell(self, lines: Iterator[str]) -> None:
        for line in lines:
            if self._pid is None and line.isdecimal():
                self._pid = int(line)
            else:
                self._hear(line)

    async def _end(self, transport: asyncio.SubprocessTransport, protocol: _Guard) -> None:
        self.kill()
        await protocol.exited.wait()
        if self._pid is not None:
            # The guard has done this already, unless it was killed itself; then its orphans are not below
            # anybody we know, but carry the mark.
            await asyncio.to_thread(guard.end, self._pid, mark=f"{MARK}={self._mark}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await protocol.silent.wait()
        self._tell(self._lines.end())
        self.ending = _ending(transport.get_returncode() or 0)
        transport.close()
        self.ended.set()


def _environment(command: ServeCommand, mark: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in command.clear_env}
    # Python in a pipe would keep its lines for itself until there are 8 KiB of them.
    return {"PYTHONUNBUFFERED": "1", **inherited, **command.env, MARK: mark}


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
