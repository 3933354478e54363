"""The table of routes: which path takes which method, and whether it is inference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.sim.connection import Connection, Request
from gateway.sim.faults import Faults
from gateway.sim.state import LoggedRequest, ReplicaState
from gateway.sim.wire import Response


@dataclass(slots=True)
class Call:
    """One request on its way to its handler."""

    state: ReplicaState
    request: Request
    connection: Connection
    entry: LoggedRequest
    faults: Faults
    """The faults that strike this request."""
    extra_head: str = ""
    """Header lines that every answer to it carries."""

    def respond(self, response: Response) -> None:
        delta = self.faults.content_length_delta
        self.connection.respond(response, extra=self.extra_head, length_delta=delta)


Handler = Callable[[Call], Response | None]
"""Answers a call; None if it answers later by itself. Raises ApiError for errors."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path. `inference` routes are subject to faults, draining and the queue limit."""

    handler: Handler
    methods: tuple[str, ...] = ("POST",)
    inference: bool = False
    anthropic: bool = False
    """Errors in Anthropic's shape."""


Routes = Mapping[str, Route]
