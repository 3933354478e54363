"""All launched servers of a gateway: started one after the other in plan order, then kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp

from gateway.launch.calibration import Calibration
from gateway.launch.command import FIRST_PORT, serve_command
from gateway.launch.inventory import GpuLibrary
from gateway.launch.plan import Plan, PlannedInstance
from gateway.launch.supervision.events import Server, Tell
from gateway.launch.supervision.gates import StartGates
from gateway.launch.supervision.keeper import Keeper, Means, Patience, Place
from gateway.launch.supervision.log_files import log_path
from gateway.launch.supervision.measuring import Calibrator, Gauge
from gateway.launch.supervision.plan_book import PlanBook
from gateway.launch.supervision.ports import LOOPBACK, HeldPorts

DEFAULT_START_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to launch and how. `start_timeouts_s` is by model."""

    plan: Plan
    calibration: Calibration
    vllm_command: Sequence[str]
    launch_dir: Path
    library: GpuLibrary
    start_timeouts_s: Mapping[str, float] = field(default_factory=dict)
    reserved_ports: frozenset[int] = frozenset()
    """Never to be chosen: the gateway's own."""
    patience: Patience = field(default_factory=Patience)


class Supervisor:
    """The launched servers. Made by `supervised`."""

    def __init__(self, book: PlanBook, keepers: Sequence[Keeper]) -> None:
        self._book = book
        self._keepers = keepers
        self._running = asyncio.TaskGroup()
        self.started = asyncio.Event()
        """Set once every server has answered, or failed once."""
        self.wanted_again = asyncio.Event()
        """Set by `retry` where all were given up, so that `run` has ended: it may be called again."""

    @property
    def plan(self) -> Plan:
        """The plan that holds now."""
        return self._book.plan

    @property
    def servers(self) -> Sequence[Server]:
        """All servers, in start order."""
        return [keeper.server for keeper in self._keepers]

    async def run(self) -> None:
        """Start all, one after the other, and keep them until `stop`. Ends before that if all are given up.

        Cancelled, it kills them.
        """
        self.wanted_again.clear()
        async with asyncio.TaskGroup() as self._running:
            await self._start(self._keepers)
            self.started.set()

    def retry(self) -> None:
        """Start those again that were given up: somebody says that it will be different now."""
        given_up = [keeper for keeper in self._keepers if keeper.given_up]
        if len(given_up) == len(self._keepers):
            self.wanted_again.set()
        elif given_up:
            self._running.create_task(self._start(given_up))

    async def _start(self, keepers: Sequence[Keeper]) -> None:
        for keeper in keepers:
            keeper.begin()
        for keeper in keepers:
            self._running.create_task(keeper.run())
            await keeper.judged.wait()

    async def stop(self) -> None:
        """Ask all of them to end, side by side, and see to it that they do; then cancel `run`."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))


@contextlib.asynccontextmanager
async def supervised(orders: Orders, tell: Tell) -> AsyncIterator[Supervisor]:
    """A supervisor with its ports held; it starts nothing before its `run`.

    Raises:
        PortInUse: a port that was asked for is taken.
    """
    devices = {use.device.index: use.device for use in orders.plan.gpus}
    calibrator = Calibrator(orders.launch_dir, orders.calibration, devices)
    with contextlib.closing(HeldPorts()) as held:
        ports = _ports(orders.plan, held, orders.reserved_ports)
        places = [_place(planned, ports[planned.request.label], orders) for planned in _ordered(orders.plan)]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            means = Means(
                session=session,
                gates=StartGates(),
                gauge=Gauge(orders.library, devices),
                calibrator=calibrator,
                book=PlanBook(orders.plan, calibrator),
                tell=tell,
                patience=orders.patience,
            )
            yield Supervisor(means.book, [Keeper(place, means) for place in places])


def _ordered(plan: Plan) -> list[PlannedInstance]:
    return sorted(plan.instances, key=lambda planned: planned.start_order)


def _ports(plan: Plan, held: HeldPorts, reserved: frozenset[int]) -> dict[str, int]:
    """Those that were asked for first, so that nobody else is given them."""
    asked = {p.request.label: p.request.port for p in plan.instances if p.request.port is not None}
    ports = {label: held.take(port) for label, port in asked.items()}
    for planned in plan.instances:
        if planned.request.label not in ports:
            ports[planned.request.label] = held.find(FIRST_PORT, reserved | set(ports.values()))
    return ports


def _place(planned: PlannedInstance, port: int, orders: Orders) -> Place:
    request = planned.request
    kinds = {use.device.index: use.device.kind for use in orders.plan.gpus}
    return Place(
        server=Server(request.label, request.name, f"http://{LOOPBACK}:{port}", planned.gpus),
        command=partial(
            serve_command, kind=kinds[planned.gpus[0]], port=port, vllm_command=orders.vllm_command
        ),
        log=log_path(orders.launch_dir, request.label),
        start_timeout_s=orders.start_timeouts_s.get(request.name, DEFAULT_START_TIMEOUT_S),
    )
