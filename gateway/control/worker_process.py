"""One worker process, from start to end.

Workers are fresh interpreters that inherit descriptors: a fork of a process with a running event loop would
inherit its locks and timers as well. They stay in control's process group and are not bound to its life: a
worker whose control is gone finishes what it relays.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

import gateway
from gateway.fleet.snapshot import Snapshot
from gateway.proxy.channel import Boot, Channel, Picture, Ready, Stop, ToControl

KILL_AFTER_S = 5.0
"""How long a process may outlive its channel."""

Command = Callable[[int], Sequence[str]]
"""The command line of a worker, from the number of its channel's descriptor."""


def worker_command(channel_fd: int) -> Sequence[str]:
    """How a worker is started. `-P` keeps the current folder out of its module path."""
    return (sys.executable, "-P", "-m", "gateway.proxy.worker", "--channel-fd", str(channel_fd))


@dataclass(slots=True)
class WorkerProcess:
    """A running worker, as long as `run` has not returned. `pid` is known once it accepts connections."""

    command: Command
    boot: Boot
    pid: int | None = None
    _grace_s: float | None = None
    _channel: Channel | None = None
    _process: asyncio.subprocess.Process | None = None

    async def run(self, snapshot: Snapshot, receive: Callable[[ToControl], None]) -> str:
        """Start the worker, hand on what it says, and return in words how it ended.

        A cancelled `run` kills the worker.
        """
        here, there = socket.socketpair()
        try:
            with there:
                self._process = await self._spawn(there.fileno())
        except OSError as error:
            here.close()
            return f"could not be started: {error.strerror or error}"
        try:
            self._channel = await Channel.open(here)
            self._channel.send(self.boot)
            self._channel.send(Picture(snapshot=snapshot))
            if self._grace_s is not None:
                self._channel.send(Stop(grace_s=self._grace_s))
            await self._hear(self._channel, receive)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_AFTER_S):
                    await self._process.wait()
        finally:
            self.pid = None
            if self._channel is not None:
                self._channel.close()
            await self._reap(self._process)
        return _ending(self._process.returncode)

    def show(self, snapshot: Snapshot) -> None:
        """Send the next picture of the fleet."""
        if self._channel is not None:
            self._channel.send(Picture(snapshot=snapshot))

    def stop(self, grace_s: float) -> None:
        """Ask it to finish what runs, for at most `grace_s` seconds; once it is there, if it only starts."""
        self._grace_s = grace_s
        if self._channel is not None:
            self._channel.send(Stop(grace_s=grace_s))

    async def _spawn(self, channel_fd: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.command(channel_fd),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(channel_fd, self.boot.scoreboard_fd, *self.boot.listen_fds),
            env={**os.environ, "PYTHONPATH": _module_path()},
        )

    async def _hear(self, channel: Channel, receive: Callable[[ToControl], None]) -> None:
        """Until the worker closes its end, or says what no worker says."""
        with contextlib.suppress(msgspec.DecodeError):
            while (message := await channel.from_worker()) is not None:
                if isinstance(message, Ready):
                    self.pid = message.pid
                receive(message)

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


def _module_path() -> str:
    """This very package first, whatever is installed."""
    package = str(Path(gateway.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return f"{package}{os.pathsep}{inherited}" if inherited else package


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "ended"
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"
