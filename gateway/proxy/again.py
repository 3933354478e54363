"""An attempt that failed and may be followed by another, and what the client gets when it isn't."""

from typing import Protocol

from gateway.proxy.errors import (
    FirstByteTimeout,
    GatewayError,
    IdleTimeout,
    ReplicaFailed,
    ShuttingDown,
    TotalTimeout,
)
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.relay import Relay

_SERVER_ERROR, _BUSY = 500, 503
_ERRORS: dict[Failure, type[GatewayError]] = {
    Failure.FIRST_BYTE_TIMEOUT: FirstByteTimeout,
    Failure.IDLE_TIMEOUT: IdleTimeout,
    Failure.TOTAL_TIMEOUT: TotalTimeout,
    Failure.SHUTDOWN: ShuttingDown,
}


def error_of(ended: Ended) -> GatewayError:
    """The error that tells a client of a failed attempt."""
    assert ended.failure is not None
    kind = _ERRORS.get(ended.failure, ReplicaFailed)
    return kind(f"The answer could not be completed: {ended.detail}.", retry_after_s=1.0)


class Again(Protocol):
    """Something that another replica may still put right.

    `may_wait` says whether it is worth waiting for one.
    """

    may_wait: bool

    async def go_on(self, job: Job, replica: LiveReplica) -> bool:
        """That replica is about to be asked. False: it can't be, but another one may."""
        ...

    def give_up(self, job: Job) -> None:
        """Nobody else is asked. Raises a `GatewayError`, or ends the answer as well as it can be."""
        ...


class Unanswered:
    """The attempt failed before the client saw anything."""

    def __init__(self, reason: str, error: GatewayError) -> None:
        self._reason = reason
        self._error = error
        self.may_wait = True

    async def go_on(self, job: Job, replica: LiveReplica) -> bool:
        """Count the retry."""
        job.pool.meter.retry(self._reason)
        return True

    def give_up(self, job: Job) -> None:
        """Raise the error."""
        raise self._error


class HeldAnswer:
    """The replica answered with an error of its own that another one may not have."""

    def __init__(self, reason: str, relay: Relay) -> None:
        self._reason = reason
        self._relay = relay
        # One that is busy has said when to come again; the client is to hear it at once.
        self.may_wait = relay.status >= _SERVER_ERROR and relay.status != _BUSY

    async def go_on(self, job: Job, replica: LiveReplica) -> bool:
        """Count the retry; the answer is forgotten."""
        job.pool.meter.retry(self._reason)
        return True

    def give_up(self, job: Job) -> None:
        """Let the client have the replica's own words."""
        self._relay.pass_held_on()


def break_off(job: Job, detail: str, event: bytes) -> None:
    """The client has part of an answer that can't be finished."""
    job.pool.meter.broken()
    job.outcome, job.error = "broken", detail
    job.answer.break_off(event)
