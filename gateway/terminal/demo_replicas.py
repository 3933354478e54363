"""The demo's simulated replicas: processes that can't outlive it."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.sim import EngineLimits, SimOptions
from gateway.sim.arguments import to_arguments
from gateway.terminal.failures import Failure

STEP_S = 0.04
"""25 tokens a second: slow enough to see them come, as a large model would send them."""

_ENGINE = EngineLimits(step_s=STEP_S, max_num_seqs=16)
_ADAPTER = (("llama-demo-sql", "adapters/llama-demo-sql"),)
OPTIONS = (
    SimOptions(model="llama-demo", adapters=_ADAPTER, engine=_ENGINE),
    SimOptions(model="llama-demo", engine=_ENGINE),
    SimOptions(model="qwen-demo", engine=_ENGINE),
    SimOptions(model="qwen-demo", engine=_ENGINE),
    SimOptions(model="embed-demo", pooling=True, engine=_ENGINE),
)


@dataclass(frozen=True, slots=True)
class RunningReplica:
    """A replica that listens."""

    url: str
    pid: int


@asynccontextmanager
async def running_replicas(options: Sequence[SimOptions]) -> AsyncIterator[list[RunningReplica]]:
    """Start a process for each, wait until all listen, and end them on the way out.

    Raises:
        Failure: one did not start.
    """
    processes: list[Process] = []
    try:
        for each in options:
            processes.append(await _start(each))  # noqa: PERF401  (all that started must be ended)
        yield [RunningReplica(await _url(process), process.pid) for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.communicate() for process in processes))


async def _start(options: SimOptions) -> Process:
    # A session of its own: Ctrl-C reaches the gateway alone, which lets running answers end first.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.terminal.tether", *to_arguments(options)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )


async def _url(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    _, found, url = line.rpartition(" on ")
    if not found:
        raise Failure("A simulated replica did not start; 'vllm-gateway simulate --model demo' tells more.")
    return url
