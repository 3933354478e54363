"""Putting the control process together: sockets, scoreboard, state, probes, workers, admin listener."""

import asyncio
import contextlib
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from socket import socket

import msgspec
from aiohttp import web

from gateway.config import worker_count
from gateway.control.admin import listener
from gateway.control.admin.guard import Access
from gateway.control.admin.source import Source
from gateway.control.declared import settings_of
from gateway.control.ejections import LOOK_S, EjectionNotes
from gateway.control.fleet_state import FleetState
from gateway.control.journal import Journal
from gateway.control.listening import bound_address, listen
from gateway.control.monitor import Monitor
from gateway.control.plane import ControlPlane, Loaded, Parts
from gateway.control.probes import open_session
from gateway.control.watch import watch
from gateway.control.worker_process import Command, worker_command
from gateway.control.workers import Workers, boots_of
from gateway.proxy.channel import Boot
from gateway.proxy.settings import Settings
from gateway.telemetry.layout import Layout
from gateway.telemetry.scoreboard import Scoreboard

TIDY_S = 5.0
KEPT_FROM_CLIENTS = 1 / 8
"""Share of a worker's descriptors that no client connection takes, however many are idle: they are for the
connections to replicas."""

StartAdmin = Callable[[Source, Access, socket], Awaitable[web.AppRunner]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a control plane needs beside its configuration.

    `load` reads the configuration again on SIGHUP, on request, and when the file `watched` changes; it may
    raise `ConfigError`. `watch_s` is how often to look at that file. `start_admin` and `command` are only
    replaced in tests.
    """

    load: Callable[[], Loaded] | None = None
    watched: Path | None = None
    watch_s: float = 2.0
    start_admin: StartAdmin = listener.start
    command: Command = worker_command


@contextlib.asynccontextmanager
async def control_plane(
    loaded: Loaded, surroundings: Surroundings | None = None
) -> AsyncIterator[ControlPlane]:
    """A running gateway. Leaving the context ends it at once; call `stop` or `serve` for an orderly end.

    Raises:
        CannotListen: one of the two addresses is taken or not ours. Nothing was started then.
    """
    around = surroundings or Surroundings()
    descriptors = raise_descriptor_limit()
    with contextlib.ExitStack() as stack:
        public = tuple(map(stack.enter_context, listen(loaded.config.listen)))
        # One address is enough for operators, so a name with several gives the first.
        private, *spare = map(stack.enter_context, listen(loaded.config.admin))
        for sock in spare:
            sock.close()
        workers = worker_count(loaded.config.workers, usable_cpus())
        board = Scoreboard.create(Layout(workers=workers))
        stack.callback(board.close)
        async with asyncio.TaskGroup() as group, open_session() as session:
            journal = Journal(time.time)
            state = FleetState(board, journal)
            settings = within(settings_of(loaded.config, loaded.secrets), descriptors, journal)
            monitor = Monitor(group, session, state, board, Random())  # noqa: S311  (spreads probes)
            parts = Parts(
                board=board,
                journal=journal,
                state=state,
                monitor=monitor,
                workers=Workers(
                    board, journal, _boots(board, settings, public), around.command, monitor.suspect
                ),
                close_listeners=lambda: _close(public),
                load=around.load,
            )
            admin = bound_address((private,), loaded.config.admin)
            plane = ControlPlane(parts, loaded, bound_address(public, loaded.config.listen), admin)
            async with _running(plane, parts, around, group):
                access = Access(admin, loaded.secrets.admin_token)
                runner = await around.start_admin(plane, access, private)
                try:
                    yield plane
                finally:
                    await runner.cleanup()


@contextlib.asynccontextmanager
async def _running(
    plane: ControlPlane, parts: Parts, around: Surroundings, group: asyncio.TaskGroup
) -> AsyncIterator[None]:
    """Everything that moves by itself, from the first probe to the end of the last worker."""
    parts.state.subscribe(parts.workers.show)
    plane.apply(plane.loaded)
    parts.workers.start(group)
    ejections = EjectionNotes(parts.board, parts.state, parts.journal)
    chores = [
        group.create_task(_again_and_again(parts.state.tidy, TIDY_S)),
        group.create_task(_again_and_again(ejections.look, LOOK_S)),
    ]
    if around.watched is not None:
        chores.append(group.create_task(watch(around.watched, plane.reload_or_tell, around.watch_s)))
    try:
        yield
    finally:
        for chore in chores:
            chore.cancel()
        parts.monitor.close()
        await parts.workers.stop(0.0)


async def _again_and_again(chore: Callable[[], None], pause_s: float) -> None:
    while True:
        await asyncio.sleep(pause_s)
        chore()


def _boots(board: Scoreboard, settings: Settings, public: tuple[socket, ...]) -> list[Boot]:
    template = Boot(
        worker=0,
        workers=board.layout.workers,
        pools=board.layout.pools,
        replicas=board.layout.replicas,
        scoreboard_fd=board.fd,
        listen_fds=tuple(sock.fileno() for sock in public),
        settings=settings,
    )
    return boots_of(template, board.layout.workers)


def _close(sockets: tuple[socket, ...]) -> None:
    for sock in sockets:
        sock.close()


def usable_cpus() -> int:
    """How many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_descriptor_limit() -> int:
    """Take all the descriptors the system allows: each relayed request needs two. Workers inherit it.

    Returns how many that are; `resource.RLIM_INFINITY` where there is no limit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems say "unlimited" and refuse it (macOS); then the soft limit stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def within(settings: Settings, descriptors: int, journal: Journal) -> Settings:
    """The same with no more client connections than leave descriptors for those to replicas."""
    if descriptors == resource.RLIM_INFINITY:
        return settings
    most = int(descriptors * (1 - KEPT_FROM_CLIENTS))
    if settings.connections <= most:
        return settings
    words = (
        f"each worker takes at most {most} client connections, not {settings.connections}, because the "
        f"system lets a process open {descriptors} files (ulimit -n)"
    )
    journal.note("warning", words, level=logging.WARNING)
    return msgspec.structs.replace(settings, connections=most)
