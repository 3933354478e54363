"""The control plane as one object: what admin reads, what signals and reloads do.

It owns no fact about the fleet (`fleet_state` does) and starts nothing by itself (`process` does).
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.config import Address, Config, ConfigError, Secrets
from gateway.config.addresses import parse_replica_url
from gateway.config.errors import Invalid
from gateway.control.admin.source import ReloadRefused, ReplicaView, UnknownReplica, WorkerView
from gateway.control.admin.status import DeviceStatus
from gateway.control.declared import launch_orders, plan_of, remarks_on, settings_of
from gateway.control.fleet_state import FleetState
from gateway.control.journal import Journal
from gateway.control.launched import LaunchedReplicas, observation_of
from gateway.control.monitor import Monitor, Rhythm
from gateway.control.terminal_end import Terminal
from gateway.control.views import engine_numbers, hung_counts, replica_views
from gateway.control.workers import Workers
from gateway.fleet.snapshot import Snapshot
from gateway.launch.plan import Plan
from gateway.launch.supervision.events import Server
from gateway.proxy.channel import Event
from gateway.telemetry.exposition import Facts
from gateway.telemetry.scoreboard import Scoreboard
from gateway.version import VERSION

FIRST_VERDICTS_S = 3.0
"""How long a start waits for the first verdict on every replica: one may be down for ever."""
FIRST_WORKERS_S = 20.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with the secrets it names."""

    config: Config
    secrets: Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a control plane is made of. `load` reads the configuration again; None: there is no file."""

    board: Scoreboard
    journal: Journal
    state: FleetState
    monitor: Monitor
    workers: Workers
    close_listeners: Callable[[], None]
    load: Callable[[], Loaded] | None = None


class ControlPlane:
    """A running gateway, seen from inside its control process. Implements `admin.source.Source`."""

    def __init__(self, parts: Parts, loaded: Loaded, listen: Address, admin: Address) -> None:
        self.listen = listen
        """Where clients connect, with the port the system chose."""
        self.admin = admin
        self.loaded = loaded
        """The configuration that holds now."""
        self.launched = LaunchedReplicas(parts.state, parts.monitor, parts.journal)
        self._parts = parts
        self._stop_asked = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloads = Counter({"ok": 0, "rejected": 0})
        self._stale: tuple[str, ...] = ()
        self._remarks: tuple[str, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self.after_reload: Callable[[], None] | None = None
        """Called after each reload: whoever launched servers may try again those it had given up."""

    # -- the fleet --

    def apply(self, loaded: Loaded) -> None:
        """Make the fleet what this configuration says."""
        parts = self._parts
        launches = not self.launched.is_empty
        self._stale = tuple(_needs_restart(self.loaded, loaded, launches=launches)) or self._stale
        self.loaded = loaded
        self._remark(tuple(remarks_on(loaded.config, loaded.secrets)))
        parts.state.declare(plan_of(loaded.config, loaded.secrets))
        self._follow()

    def launch(self, servers: Sequence[Server], plan: Plan) -> None:
        """Serve through these servers, which are about to be started; `launched` hears how they fare."""
        for server in servers:
            self._parts.state.add(observation_of(self.loaded.config, self.loaded.secrets, server))
        self.launched.expect(servers, plan)
        self._follow()

    def _remark(self, remarks: tuple[str, ...]) -> None:
        for remark in remarks:
            if remark not in self._remarks:
                self._parts.journal.note("warning", remark, level=logging.WARNING)
        self._remarks = remarks

    def _follow(self) -> None:
        self._parts.state.settle()
        health = self.loaded.config.health
        self._parts.monitor.follow(
            [known.seen for known in self._parts.state.known],
            Rhythm(
                interval_s=health.interval,
                timeout_s=health.timeout,
                path=health.path,
                models_interval_s=health.models_interval,
                metrics_interval_s=health.metrics_interval,
            ),
        )

    # -- admin.source.Source --

    @property
    def board(self) -> Scoreboard:
        return self._parts.board

    @property
    def snapshot(self) -> Snapshot:
        return self._parts.state.snapshot

    def facts(self) -> Facts:
        workers = self._parts.workers
        return Facts(
            snapshot=self.snapshot,
            version=VERSION,
            workers_up=sum(view.pid is not None for view in workers.views),
            worker_restarts=workers.restarts,
            reloads=dict(self._reloads),
            engines=engine_numbers(self._parts.state.known),
            hung=hung_counts(self._parts.state.known),
        )

    def replicas(self) -> Sequence[ReplicaView]:
        state = self._parts.state
        return replica_views(state.known, state.slots, time.time() - time.monotonic())

    def workers(self) -> Sequence[WorkerView]:
        return self._parts.workers.views

    def events(self) -> Sequence[Event]:
        return self._parts.journal.events

    def warnings(self) -> Sequence[str]:
        return (*self._stale, *self._remarks, *self.launched.warnings, *self._parts.state.warnings)

    def devices(self) -> Sequence[DeviceStatus]:
        return self.launched.devices

    def drain(self, url: str) -> None:
        self._parts.state.set_draining(self._known_url(url), draining=True)

    def undrain(self, url: str) -> None:
        self._parts.state.set_draining(self._known_url(url), draining=False)

    def _known_url(self, url: str) -> str:
        """The replica's own way to write its URL; people leave out ports and add slashes."""
        try:
            return parse_replica_url(url)
        except Invalid as error:
            raise UnknownReplica(f"there is no replica {url}: {error.message}") from None

    async def reload(self) -> None:
        load = self._parts.load
        if load is None:
            raise ReloadRefused("there is no configuration file: the gateway was started with URLs")
        async with self._reloading:
            try:
                loaded = await asyncio.to_thread(load)
            except ConfigError as error:
                self._reloads["rejected"] += 1
                self._parts.journal.note(
                    "reload_rejected", f"the old configuration stays: {error}", level=logging.ERROR
                )
                raise ReloadRefused(str(error)) from None
            self.apply(loaded)
            self._parts.monitor.read_models()
            self._reloads["ok"] += 1
            self._parts.journal.note("reload", "the configuration was read again")
            if self.after_reload is not None:
                self.after_reload()

    async def reload_or_tell(self) -> None:
        """Reload where nobody waits for the answer: the journal says how it went."""
        with contextlib.suppress(ReloadRefused):
            await self.reload()

    # -- life --

    async def ready(self) -> None:
        """Wait until every replica has had a verdict and all workers accept connections, but not for long."""
        for event, limit_s in (
            (self._parts.state.judged, FIRST_VERDICTS_S),
            (self._parts.workers.ready, FIRST_WORKERS_S),
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await event.wait()

    async def serve(self, announce: Callable[[], None] | None = None) -> None:
        """Serve until SIGINT or SIGTERM, then let running requests finish for the configured grace time.

        `announce` is called once, when the gateway is ready. A second signal ends everything at once; SIGHUP
        reads the configuration again, or says that the terminal was closed, which is as SIGTERM.
        """
        with self._signals():
            asking = asyncio.create_task(self._stop_asked.wait())
            starting = asyncio.create_task(self.ready())
            await asyncio.wait((asking, starting), return_when=asyncio.FIRST_COMPLETED)
            starting.cancel()
            if announce is not None and not self._stop_asked.is_set():
                announce()
            await asking
            await self.stop(self.loaded.config.shutdown_grace)

    def interrupt(self) -> None:
        """What SIGINT and SIGTERM do: stop in order, and the second time at once."""
        if self._stop_asked.is_set():
            self._background(self._parts.workers.stop(0.0))
        self._stop_asked.set()

    def _hang_up(self, terminal: Terminal) -> None:
        if terminal.is_gone():
            terminal.let_go()
            self.interrupt()
        else:
            self._background(self.reload_or_tell())

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more and wait for what runs, at most for the grace time (in seconds)."""
        self._stop_asked.set()
        self._parts.close_listeners()
        self._parts.journal.note("stopping", f"stopping; running requests may finish for {grace_s:g} s")
        await self._parts.workers.stop(grace_s)
        # Nobody needs to know any more, and launched servers are about to refuse.
        self._parts.monitor.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.interrupt)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, Terminal())
        try:
            yield
        finally:
            for number in (*STOP_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _needs_restart(old: Loaded, new: Loaded, *, launches: bool) -> Iterator[str]:
    """What changed and can't be changed in a running gateway."""
    before, after = old.config, new.config
    changed = [
        name for name in ("listen", "admin", "workers") if getattr(before, name) != getattr(after, name)
    ]
    if old.secrets.admin_token != new.secrets.admin_token:
        changed.append("the admin token")
    if old.secrets.client_keys != new.secrets.client_keys:
        changed.append("the clients' keys")
    if settings_of(before, old.secrets) != settings_of(after, old.secrets):
        changed.append("limits and logging of the workers")
    if launches and launch_orders(before) != launch_orders(after):
        changed.append("which servers to launch, and how")
    if changed:
        yield f"the new configuration also changes {', '.join(changed)}: that needs a restart"
