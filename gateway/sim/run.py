"""Runs a simulated replica as a program."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import uvloop

from gateway.sim.arguments import parse_arguments
from gateway.sim.options import SimOptions
from gateway.sim.server import SimServer


def run(options: SimOptions) -> None:
    """Serve until SIGTERM or SIGINT, then end at once. Prints one line when ready.

    Raises:
        OSError: The address is taken or not ours.
    """
    uvloop.run(_serve(options))


def main(argv: Sequence[str] | None = None, prog: str = "python -m gateway.sim") -> int:
    """Run the command line, called `prog` in its help. Returns the exit status."""
    options = parse_arguments(argv, prog)
    try:
        run(options)
    except OSError as error:
        print(f"can't listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _serve(options: SimOptions) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = SimServer(options, loop)
    await server.start()
    print(f"simulated vLLM: {options.model} on {server.url}", flush=True)  # noqa: T201 - its one line
    await stopping.wait()
    server.stop()
