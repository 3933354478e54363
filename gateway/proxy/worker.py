"""One worker process: it accepts, relays and counts, and does what control tells it over the channel.

Started as `python -m gateway.proxy.worker --channel-fd N` with the descriptors that `Boot` names inherited.
When control dies, a worker closes its listening socket, so that a restarted control can bind the address,
goes on relaying by its last snapshot, and ends when its last request does.
"""

import argparse
import asyncio
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import uvloop

from gateway.proxy.channel import Boot, Channel, Picture, Ready, Stop
from gateway.proxy.deadlines import SWEEP_S, Deadlines
from gateway.proxy.dispatch import Dispatcher
from gateway.proxy.front import FrontServer
from gateway.proxy.gateway import Gateway
from gateway.proxy.live import LiveFleet
from gateway.proxy.notices import Notices
from gateway.proxy.outcome import Failure
from gateway.proxy.settings import Settings
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.layout import Layout
from gateway.telemetry.meters import WorkerMeter
from gateway.telemetry.record import RequestRecord
from gateway.telemetry.scoreboard import Scoreboard

if TYPE_CHECKING:
    from gateway.proxy.traced import Traced

logger = logging.getLogger(__name__)

BACKLOG = 4096
ORPHAN_GRACE_S = 600.0
"""How long requests may go on after control died; as long as the longest default deadline."""


class Worker:
    """Puts the data plane of one process together and drives it."""

    def __init__(self, boot: Boot, channel: Channel) -> None:
        layout = Layout(workers=boot.workers, pools=boot.pools, replicas=boot.replicas)
        board = Scoreboard(boot.scoreboard_fd, layout)
        self._boot = boot
        self._channel = channel
        self._meter = WorkerMeter(board, boot.worker)
        self._fleet = LiveFleet(board, boot.worker, Random())  # noqa: S311
        self._deadlines = Deadlines(hang_s=boot.settings.hang_s)
        self._log = AccessLog(boot.settings.access_log) if boot.settings.access_log else None
        self._traced = _traced(boot.settings)
        make = Dispatcher if self._traced is None else self._traced.dispatcher
        dispatcher = make(self._fleet, self._deadlines)
        self._gateway = Gateway(boot.settings, self._fleet, dispatcher, self._meter, self._observer())
        handle = self._gateway.handle if self._traced is None else self._traced.handler(self._gateway.handle)
        self._front = FrontServer(handle, self._meter, boot.settings)
        self._stopping = asyncio.Event()
        self._grace_s = boot.settings.shutdown_grace_s
        self._finishing: asyncio.Timeout | None = None

    def _observer(self) -> Callable[[RequestRecord], None]:
        notices = Notices(self._channel.send, time.monotonic, time.time)
        observers = [notices.observe]
        if self._log is not None:
            observers.append(self._log.write)
        if self._traced is not None:
            observers.append(self._traced.conclude)
        return observers[0] if len(observers) == 1 else lambda record: _tell_all(observers, record)

    async def run(self) -> None:
        """Serve until control, a signal or the end of control says stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        # A terminal's Ctrl-C and its end reach the whole group; control hears them too and says what to do.
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        listening = asyncio.create_task(self._listen_to_control())
        sweeping = asyncio.create_task(self._sweep())
        servers = [
            await loop.create_server(self._front, sock=socket.socket(fileno=fd), backlog=BACKLOG)
            for fd in self._boot.listen_fds
        ]
        gc.collect()
        # What lives now lives for ever: 5 % of the CPU of small requests went into looking at it again.
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        self._channel.send(Ready(pid=os.getpid()))
        await self._stopping.wait()
        self._gateway.drain()
        for server in servers:
            server.close()
        self._front.drain()
        await self._finish_requests()
        listening.cancel()
        sweeping.cancel()
        await self._front.close(timeout_s=1.0)
        if self._log is not None:
            self._log.close()
        if self._traced is not None:
            self._traced.close()

    async def _listen_to_control(self) -> None:
        while (message := await self._channel.from_control()) is not None:
            match message:
                case Picture():
                    self._fleet.apply(message.snapshot)
                case Stop():
                    self._stop(message.grace_s)
                case Boot():
                    logger.warning("a second boot message was ignored")
        if not self._stopping.is_set():
            logger.error("the control process is gone; finishing what runs")
            self._stop(ORPHAN_GRACE_S)

    def _stop(self, grace_s: float) -> None:
        """Begin to stop, or, when that has begun, set a new limit to it."""
        self._grace_s = grace_s
        self._stopping.set()
        if self._finishing is not None:
            self._finishing.reschedule(asyncio.get_running_loop().time() + grace_s)

    async def _sweep(self) -> None:
        """Deadlines, idle connections, and how late this very timer is."""
        while True:
            due = time.monotonic() + SWEEP_S
            await asyncio.sleep(SWEEP_S)
            self._meter.loop_lag(max(0.0, time.monotonic() - due))
            self._deadlines.sweep()
            now = time.monotonic()
            self._fleet.sweep(now)
            self._front.sweep(now)

    async def _finish_requests(self) -> None:
        try:
            async with asyncio.timeout(self._grace_s) as self._finishing:
                await self._gateway.quiet.wait()
        except TimeoutError:
            logger.warning("%d requests did not finish within %g s", self._gateway.running, self._grace_s)
        self._finishing = None
        self._deadlines.fail_all(Failure.SHUTDOWN, "the gateway is shutting down")
        await asyncio.sleep(0)


def _tell_all(observers: Sequence[Callable[[RequestRecord], None]], record: RequestRecord) -> None:
    for observer in observers:
        observer(record)


def _traced(settings: Settings) -> "Traced | None":
    if settings.otlp_endpoint is None:
        return None
    # The SDK is an optional extra; control has looked whether it is there.
    traced: Traced = importlib.import_module("gateway.proxy.traced").Traced(settings)
    return traced


async def serve(channel_fd: int) -> None:
    """Run one worker on an inherited channel."""
    channel = await Channel.open(socket.socket(fileno=channel_fd))
    boot = await channel.from_control()
    if isinstance(boot, Boot):
        await Worker(boot, channel).run()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="python -m gateway.proxy.worker")
    parser.add_argument("--channel-fd", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    uvloop.run(serve(options.channel_fd))


if __name__ == "__main__":
    main()
