"""Drives the engine with the event loop's clock: one timer per step for all running requests."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.sim.engine import Engine, EngineLimits, EngineRequest, EngineStats


class EngineClock:
    """Runs steps while there is work; can be frozen, as a hung or sleeping engine is."""

    def __init__(
        self,
        limits: EngineLimits,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Sequence[EngineRequest]], None],
    ) -> None:
        """Begin idle.

        Args:
            limits: What the engine can do.
            loop: Where its steps run.
            deliver: Called at the end of each step with the requests that got a token.
        """
        self._engine = Engine(limits)
        self._loop = loop
        self._deliver = deliver
        self._handle: asyncio.Handle | None = None
        self._frozen = False
        self.published = EngineStats()
        """What /metrics shows: renewed by the engine, so it stands still when the engine does."""

    @property
    def frozen(self) -> bool:
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if frozen == self._frozen:
            return
        self._frozen = frozen
        if frozen and self._handle:
            self._handle.cancel()
            self._handle = None
        elif not frozen:
            self._kick()

    def add(self, request: EngineRequest) -> None:
        self._engine.add(request)
        self._publish()
        self._kick()

    def remove(self, request: EngineRequest) -> None:
        self._engine.remove(request)
        self._publish()

    def resume(self) -> None:
        """Look again for work after a request was un-paused."""
        self._kick()

    def stop(self) -> None:
        self.frozen = True

    def _publish(self) -> None:
        if not self._frozen:
            self.published = self._engine.stats()

    def _kick(self) -> None:
        """Begin a step, or end one that was frozen, unless one is under way already."""
        if self._handle or self._frozen:
            return
        now = self._loop.time()
        ends_at = now if self._engine.is_stepping else self._engine.begin(now)
        self._publish()
        if ends_at is None:
            return
        # A step without duration still gives the loop a turn: sockets are read and written in between.
        self._handle = (
            self._loop.call_at(ends_at, self._step) if ends_at > now else self._loop.call_soon(self._step)
        )

    def _step(self) -> None:
        self._handle = None
        self._deliver(self._engine.finish())
        self._kick()
