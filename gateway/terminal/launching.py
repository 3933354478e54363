"""`vllm-gateway up`: plans, starts the servers behind a gateway that serves from the first one on."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import uvloop
from rich.console import Console

from gateway.config import Config
from gateway.control.plane import ControlPlane, Loaded
from gateway.control.process import Surroundings, control_plane
from gateway.fleet.snapshot import State
from gateway.launch.calibration import load_calibration
from gateway.launch.inventory import Nvml
from gateway.launch.plan import NoFitError
from gateway.launch.report import print_failure
from gateway.launch.supervision.events import Happening, Tell
from gateway.launch.supervision.ports import PortInUse
from gateway.launch.supervision.supervisor import Orders, Supervisor, supervised
from gateway.terminal.failures import RUNTIME, Failure, configuration_errors
from gateway.terminal.planning import planned
from gateway.terminal.serving import front_of, log_to_stderr, read_file, run_or_say
from gateway.terminal.start_progress import StartProgress, intentions
from gateway.terminal.start_screen import announce, reachable

ROUTED_S = 3.0


def launch_file(path: Path) -> None:
    """Start what the file says and serve until Ctrl-C; then end everything that was started.

    Raises:
        BadConfiguration: the file, or a model or secret it names, can't be used.
        Failure: the devices can't be listed, vLLM is not there, a port is taken, or no server starts.
        SystemExit: it does not fit; why was printed.
    """

    def read() -> Loaded:
        return read_file(path, {})

    with configuration_errors():
        loaded = read()
    orders = _orders(loaded.config, path)
    log_to_stderr(loaded.config.log_level)
    around = Surroundings(load=read, watched=path)
    run_or_say(loaded.config, lambda: uvloop.run(_up(loaded, around, orders)))


def _orders(config: Config, path: Path) -> Orders:
    calibration = load_calibration(config.launch_dir)
    try:
        plan = planned(config, path, calibration)
    except NoFitError as error:
        print_failure(error, Console(stderr=True, highlight=False))
        raise SystemExit(RUNTIME) from None
    program = config.vllm_command[0]
    if shutil.which(program) is None:
        raise Failure(f"There is no command {program}: install vLLM, or say in {path} what vllm_command is.")
    return Orders(
        plan=plan,
        calibration=calibration,
        vllm_command=config.vllm_command,
        launch_dir=config.launch_dir,
        library=Nvml(),
        start_timeouts_s={
            name: model.launch.start_timeout for name, model in config.models.items() if model.launch
        },
        reserved_ports=frozenset({config.listen.port, config.admin.port}),
    )


class _Tellers:
    """Hands on what happens to all who want to hear it."""

    def __init__(self) -> None:
        self.listeners: list[Tell] = []

    def tell(self, happening: Happening) -> None:
        for listener in self.listeners:
            listener(happening)


async def _up(loaded: Loaded, around: Surroundings, orders: Orders) -> None:
    console = Console(highlight=False)
    tellers = _Tellers()
    for line in intentions(orders.plan, orders.launch_dir):
        console.print(line, soft_wrap=True)
    try:
        async with supervised(orders, tellers.tell) as supervisor, control_plane(loaded, around) as plane:
            tellers.listeners.append(plane.launched.hear)
            plane.launch(supervisor.servers, supervisor.plan)
            is_over = await _serve(plane, supervisor, console, tellers)
    except PortInUse as error:
        raise Failure(f"A server can't be started: {error}.") from None
    # Raised out here: what leaves the gateway's task group comes out as a group.
    if is_over:
        raise Failure(
            "No server could be started; what each said is above, and `vllm-gateway logs` has more."
        )


async def _serve(plane: ControlPlane, supervisor: Supervisor, console: Console, tellers: _Tellers) -> bool:
    """Serve until a signal, then end the servers; True if there was nothing left to serve."""
    is_over = False

    async def keep() -> None:
        nonlocal is_over
        while True:
            await supervisor.run()
            # All are given up. With other replicas the gateway still has a purpose.
            if all(view.origin == "launched" for view in plane.replicas()):
                is_over = True
                plane.interrupt()
                return
            await supervisor.wanted_again.wait()

    async with asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        plane.after_reload = supervisor.retry
        keeping = group.create_task(keep())
        telling = group.create_task(_tell(plane, supervisor, console, tellers, ready))
        await plane.serve(ready.set)
        telling.cancel()
        await supervisor.stop()
        keeping.cancel()
    return is_over


async def _routed(plane: ControlPlane) -> None:
    """Wait until servers that answer get requests too: control asks each once more, and reads its models."""

    def some_are_not() -> bool:
        return any(view.origin == "launched" and view.state is State.STARTING for view in plane.replicas())

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ROUTED_S):
            while some_are_not():  # noqa: ASYNC110  (control tells of its verdicts by its state alone)
                await asyncio.sleep(0.03)


async def _tell(
    plane: ControlPlane, supervisor: Supervisor, console: Console, tellers: _Tellers, ready: asyncio.Event
) -> None:
    level = plane.loaded.config.log_level
    with StartProgress(console) as progress:
        # Again, because a live display has put itself between us and the terminal.
        log_to_stderr(level)
        tellers.listeners.append(progress.hear)
        await ready.wait()
        front = front_of(plane)
        places = f"Serving on {front.base_url} from the first server on, status on {reachable(front.admin)}/"
        console.print(places, soft_wrap=True, markup=False)
        await supervisor.started.wait()
        tellers.listeners.remove(progress.hear)
    log_to_stderr(level)
    await _routed(plane)
    announce(console, front, plane)
