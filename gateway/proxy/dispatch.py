"""The way of one request through a pool: lease, attempt, and another attempt where that is safe."""

import asyncio
import time
from dataclasses import dataclass

from gateway.proxy.deadlines import Deadlines
from gateway.proxy.errors import (
    ClientGone,
    ConnectFailed,
    FirstByteTimeout,
    GatewayError,
    IdleTimeout,
    NoReplica,
    ReplicaFailed,
    ShuttingDown,
    TotalTimeout,
)
from gateway.proxy.job import Job
from gateway.proxy.lease import Lease, LiveReplica
from gateway.proxy.live import LiveFleet
from gateway.proxy.relay import Ended, Failure, Relay
from gateway.proxy.retry import RetryBudget, is_replica_fault, retry_reason
from gateway.proxy.upload import Upload
from gateway.proxy.upstream.connection import Connection

_ERRORS: dict[Failure, type[GatewayError]] = {
    Failure.FIRST_BYTE_TIMEOUT: FirstByteTimeout,
    Failure.IDLE_TIMEOUT: IdleTimeout,
    Failure.TOTAL_TIMEOUT: TotalTimeout,
    Failure.SHUTDOWN: ShuttingDown,
}


@dataclass(frozen=True, slots=True)
class Again:
    """An attempt that may be repeated elsewhere, and what the client gets when it isn't.

    That is `error`, or, where there is none, the replica's own error answer that `relay` holds back.
    """

    reason: str
    relay: Relay | None = None
    error: GatewayError | None = None

    def give_up(self) -> None:
        """Nobody else is asked."""
        if self.error is not None:
            raise self.error
        assert self.relay is not None
        self.relay.pass_held_on()


class Dispatcher:
    """Sends requests to replicas."""

    def __init__(self, fleet: LiveFleet, deadlines: Deadlines) -> None:
        self._fleet = fleet
        self._deadlines = deadlines
        self._budget = RetryBudget()

    async def run(self, job: Job) -> None:
        """Answer the request. Raises `GatewayError` when nothing was sent to the client.

        A failure after the first byte does not raise: the answer is broken off, and the record says so.
        """
        tried: set[str] = set()
        lease = job.pool.lease_now(job.model.upstream) or await self._lease(job, tried)
        self._budget.active += 1
        try:
            again = await self._one(job, lease, tried)
            if again is not None:
                await self._elsewhere(job, tried, again)
        finally:
            self._budget.active -= 1

    async def _elsewhere(self, job: Job, tried: set[str], again: Again | None) -> None:
        retries = self._fleet.snapshot.retries
        while again is not None:
            if len(tried) > retries.attempts or not self._budget.may_retry(
                retries.budget, retries.min_concurrent
            ):
                again.give_up()
                return
            try:
                lease = await self._lease(job, tried)
            except NoReplica:
                # The failed attempt's own story says more than "nobody is left".
                again.give_up()
                return
            job.pool.meter.retry(again.reason)
            with self._budget.retrying():
                again = await self._one(job, lease, tried)

    async def _lease(self, job: Job, tried: set[str]) -> Lease:
        started = time.monotonic()
        try:
            return await job.pool.queue.lease(job.client, job.model.upstream, tried, job.priority)
        finally:
            job.record.queued_s += time.monotonic() - started

    async def _one(self, job: Job, lease: Lease, tried: set[str]) -> Again | None:
        """One attempt. None means that the client has its answer, or as much of it as there will be."""
        replica = lease.replica
        tried.add(replica.view.id)
        job.record.attempts += 1
        job.record.replica = replica.view.id
        try:
            relay = await self._exchange(job, replica)
        except ConnectFailed as error:
            replica.failed(self._fleet.snapshot.ejection)
            told = ConnectFailed(f"The replica can't be reached: {error.message}.", retry_after_s=1.0)
            return Again("connect", error=told)
        except ClientGone:
            replica.undecided()
            raise
        finally:
            lease.release()
        ended = relay.outcome.result()
        job.record.stream = relay.streaming
        job.record.first_byte_at = relay.first_byte_at
        if ended.failure is None:
            replica.succeeded()
            return None
        if is_replica_fault(ended, relay.status):
            replica.failed(self._fleet.snapshot.ejection)
        if job.answer.begun:
            self._break_off(job, relay, ended)
            return None
        return self._unbegun(job, relay, ended)

    def _unbegun(self, job: Job, relay: Relay, ended: Ended) -> Again | None:
        """What follows a failure of which the client has seen nothing."""
        reason = retry_reason(ended, relay.status, relay.held_body)
        repeatable = reason is not None and (job.upload is None or not job.upload.started)
        if ended.failure is Failure.STATUS:
            if repeatable and reason is not None:
                return Again(reason, relay)
            relay.pass_held_on()
            return None
        error = _error_of(ended)
        if repeatable and reason is not None:
            return Again(reason, error=error)
        raise error

    def _break_off(self, job: Job, relay: Relay, ended: Ended) -> None:
        """The client has part of an answer that can't be finished."""
        job.pool.meter.broken()
        job.record.outcome, job.record.error = "broken", ended.detail
        event = relay.error_event or _error_of(ended).event()
        job.answer.break_off(event if relay.streaming else b"")

    async def _exchange(self, job: Job, replica: LiveReplica) -> Relay:
        """One request and its answer, on a kept connection if there is one, else on a new one."""
        connection = replica.connections.take_idle(asyncio.get_running_loop().time())
        if connection is not None:
            relay = await self._over(connection, job, replica)
            if not _is_stale(relay) or (job.upload is not None and job.upload.started):
                return relay
            job.pool.meter.retry("stale_connection")
        connection = await replica.connections.connect(job.pool.view.timeouts.connect_s)
        return await self._over(connection, job, replica)

    async def _over(self, connection: Connection, job: Job, replica: LiveReplica) -> Relay:
        """Returns the relay once its outcome is known. Raises `ClientGone` when the client left."""
        relay = Relay(job, replica)
        client = job.client
        client.listener = relay
        if client.transport is None:
            relay.client_gone()
            connection.abandon()
        else:
            if not job.record.sent_at:
                job.record.sent_at = time.monotonic()
            relay.start(connection, job, replica)
        self._deadlines.add(relay)
        try:
            if job.upload is not None:
                await self._pump(job.upload, connection, relay)
            if (await relay.outcome).client_gone:
                raise ClientGone("the client closed the connection")
        except asyncio.CancelledError:
            relay.client_gone()
            raise
        finally:
            self._deadlines.discard(relay)
            client.listener = None
        return relay

    async def _pump(self, upload: Upload, connection: Connection, relay: Relay) -> None:
        """Write the rest of the body until it is all written or the answer is over before that."""
        pump = asyncio.ensure_future(upload.pump(connection))
        try:
            await asyncio.wait((pump, relay.outcome), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        except GatewayError:
            relay.client_gone()
            raise
        finally:
            pump.cancel()


def _error_of(ended: Ended) -> GatewayError:
    assert ended.failure is not None
    kind = _ERRORS.get(ended.failure, ReplicaFailed)
    return kind(f"The answer could not be completed: {ended.detail}.", retry_after_s=1.0)


def _is_stale(relay: Relay) -> bool:
    """A kept connection that the replica had already closed: nothing came back, not even a status."""
    return relay.outcome.result().failure is Failure.CLOSED and relay.status == 0
