"""A simulated replica for tests: inside the running event loop, or as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from gateway.sim.arguments import to_arguments
from gateway.sim.faults import Faults
from gateway.sim.options import SimOptions
from gateway.sim.server import SimServer, replica_url
from gateway.sim.state import LoggedRequest, ReplicaState


class SimulatedReplica:
    """A replica in the running loop: ``async with SimulatedReplica(SimOptions("demo")) as replica``.

    `stop` and `start` again is a restart of the process: same port and options, the rest forgotten.
    """

    def __init__(self, options: SimOptions) -> None:
        self.options = options
        self._server: SimServer | None = None
        self._port = options.port

    async def start(self) -> None:
        """Listen on the port of the options, or on the one it had before.

        Raises:
            OSError: The address is taken or not ours.
        """
        server = SimServer(replace(self.options, port=self._port), asyncio.get_running_loop())
        await server.start()
        self._port = server.port
        self._server = server

    def stop(self) -> None:
        """Be gone at once, as after kill -9: connections end without a word, the port refuses."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await asyncio.sleep(0)  # the transports' turn to report their end

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return replica_url(self.options.host, self._port)

    @property
    def state(self) -> ReplicaState:
        """Counts, running answers and adapters; a new object after each start.

        Raises:
            RuntimeError: The replica is not running.
        """
        if self._server is None:
            raise RuntimeError("the simulated replica is not running")
        return self._server.state

    @property
    def faults(self) -> Faults:
        return self.state.faults

    def set_faults(self, **changes: Any) -> None:
        """Change some faults, None for the default: ``replica.set_faults(status=503, times=2)``.

        Raises:
            ValueError: Not a fault, or not a value for it.
        """
        self.state.set_faults(changes)

    def clear_faults(self) -> None:
        self.state.clear_faults()

    @property
    def requests(self) -> list[LoggedRequest]:
        """The last 200 requests received, oldest first."""
        return list(self.state.log)

    @property
    def running(self) -> int:
        """Generate requests that have not ended, whether the engine moves or not."""
        return len(self.state.answers)


class ReplicaProcess:
    """A replica as a process of its own, for SIGKILL and SIGSTOP. Use it as an async context manager."""

    def __init__(self, options: SimOptions, env: Mapping[str, str] | None = None) -> None:
        self.options = options
        self._env = env
        self._process: asyncio.subprocess.Process | None = None
        self._port = options.port

    async def start(self) -> None:
        """Start it and wait until it says that it listens.

        Raises:
            RuntimeError: It ended instead; the message carries what it wrote.
        """
        arguments = to_arguments(replace(self.options, port=self._port))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.sim", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=None if self._env is None else {**os.environ, **self._env},
        )  # fmt: skip
        assert self._process.stdout is not None
        ready = (await self._process.stdout.readline()).decode()
        if " on http://" not in ready:
            _, written = await self._process.communicate()
            raise RuntimeError(f"the simulated replica did not start: {written.decode().strip()}")
        self._port = int(ready.rstrip().rpartition(":")[2])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return replica_url(self.options.host, self._port)

    @property
    def pid(self) -> int:
        """The process's id.

        Raises:
            RuntimeError: It was not started.
        """
        if self._process is None:
            raise RuntimeError("the simulated replica was not started")
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP and SIGCONT freeze and thaw everything, /health included."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait for the end. Nothing happens if it has ended."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM, and wait for the end. Returns the exit status, 0 if it ended in order."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self.send_signal(number)
        await self._process.communicate()  # also closes the pipes
        return self._process.returncode or 0


def spawn(options: SimOptions) -> ReplicaProcess:
    """Prepare a replica in a process of its own, to be entered with ``async with``."""
    return ReplicaProcess(options)
