"""The way of one request through a pool: lease, attempt, and another attempt where that is safe."""

import asyncio
import time

from gateway.proxy.again import Again, HeldAnswer, Unanswered, error_of
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.errors import (
    ClientGone,
    ConnectFailed,
    GatewayError,
    NoReplica,
    OutOfSockets,
    QueueFull,
    QueueTimeout,
)
from gateway.proxy.interruption import Interrupted, interruption
from gateway.proxy.job import Job
from gateway.proxy.lease import Lease, LiveReplica
from gateway.proxy.live import LiveFleet
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.relay import Relay
from gateway.proxy.retry import RetryBudget, is_error_of_replica, is_replica_fault, retry_reason
from gateway.proxy.upload import Upload
from gateway.proxy.upstream.connection import Connection

BUDGET_PAUSE_S = 0.1
"""How often a request that may not be repeated yet looks again."""
MOST_WAITING = 64
"""How many of a worker's requests may do that; looking costs CPU, and a dying pool fails everything."""


class Dispatcher:
    """Sends requests to replicas."""

    def __init__(self, fleet: LiveFleet, deadlines: Deadlines) -> None:
        self._fleet = fleet
        self._deadlines = deadlines
        self._budget = RetryBudget()
        self._waiting = 0

    async def run(self, job: Job) -> None:
        """Answer the request. Raises `GatewayError` when nothing was sent to the client.

        A failure after the first byte does not raise: the answer is broken off, and the record says so.
        """
        tried: set[str] = set()
        pool = job.pool
        lease = None if pool.queue.waiting else pool.lease(job.entry.upstream)
        if lease is None:
            lease = await self._lease(job, tried)
        self._budget.active += 1
        try:
            again = await self._one(job, lease, tried)
            if again is not None:
                await self._elsewhere(job, tried, again)
        finally:
            self._budget.active -= 1
            if job.tape is not None:
                job.tape.close()

    async def _elsewhere(self, job: Job, tried: set[str], again: Again | None) -> None:
        retries = self._fleet.snapshot.retries
        for _ in range(retries.attempts):
            if again is None:
                return
            self._waiting += 1
            try:
                lease = await self._another(again, job, tried)
            finally:
                self._waiting -= 1
            if lease is None:
                break
            if not await self._prepare(again, job, lease):
                tried.add(lease.replica.view.id)
                continue
            with self._budget.retrying():
                again = await self._one(job, lease, tried)
        if again is not None:
            again.give_up(job)

    async def _another(self, again: Again, job: Job, tried: set[str]) -> Lease | None:
        """A lease for one more attempt; None where nobody may be asked.

        The budget keeps a dying pool from being hammered. A healthy replica can take what a dead one left
        behind, all at once; one that is doubted is asked by few at a time, while some others wait for as long
        as a single failure makes a replica doubtful.
        """
        snapshot = self._fleet.snapshot
        patient = again.may_wait and self._waiting <= MOST_WAITING
        until = time.monotonic() + (snapshot.ejection.penalty_s if patient else 0.0)
        while True:
            if job.answer.begun and job.pool.all_tried(job.entry.upstream, tried):
                # Half an answer is worth another look at those that failed it before: they may be restarted.
                tried.intersection_update({job.replica})
            try:
                lease = await self._lease(job, tried)
            except (NoReplica, QueueFull, QueueTimeout):
                # The failed attempt's own story says more than "nobody is left", and ends a stream properly.
                return None
            if lease.replica.is_well() or self._budget.may_retry(snapshot.retries):
                return lease
            lease.give_back()
            if job.client.transport is None:
                raise ClientGone("the client closed the connection")
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(BUDGET_PAUSE_S)

    async def _prepare(self, again: Again, job: Job, lease: Lease) -> bool:
        ready = False
        try:
            ready = await again.go_on(job, lease.replica)
        finally:
            if not ready:
                lease.release()
        return ready

    async def _lease(self, job: Job, tried: set[str]) -> Lease:
        started = time.monotonic()
        try:
            return await job.pool.queue.lease(job.client, job.entry.upstream, tried, job.priority)
        finally:
            job.queued_s += time.monotonic() - started

    async def _one(self, job: Job, lease: Lease, tried: set[str]) -> Again | None:
        """One attempt. None means that the client has its answer, or as much of it as there will be."""
        replica = lease.replica
        job.replica = replica.view.id
        job.attempts += 1
        tried.add(job.replica)
        try:
            relay = await self.exchange(job, replica)
        except OutOfSockets as error:
            replica.undecided()
            if job.answer.begun:
                return Interrupted(error)
            job.pool.meter.shed("sockets")
            raise
        except ConnectFailed as error:
            replica.failed(self._fleet.snapshot.ejection)
            told = ConnectFailed(f"The replica can't be reached: {error.message}.", retry_after_s=1.0)
            return Interrupted(told) if job.answer.begun else Unanswered("connect", told)
        finally:
            lease.release()
        ended = relay.outcome.result()
        if ended.client_gone:
            replica.undecided()
            raise ClientGone("the client closed the connection")
        job.stream = relay.streaming
        job.tail = relay.tail
        job.first_byte_at = job.first_byte_at or relay.first_byte_at
        if ended.failure is None:
            if is_error_of_replica(relay.status):
                replica.failed(self._fleet.snapshot.ejection)
            else:
                replica.succeeded()
            if job.tape is not None and job.tape.rejoin is not None:
                job.pool.meter.resumed("resumed")
            return None
        if is_replica_fault(ended, relay.status):
            replica.failed(self._fleet.snapshot.ejection)
        if not job.answer.begun:
            return self._unbegun(job, relay, ended)
        return interruption(job, relay, ended)

    def _unbegun(self, job: Job, relay: Relay, ended: Ended) -> Again | None:
        """What follows a failure of which the client has seen nothing."""
        reason = retry_reason(ended, relay.status, relay.held_body)
        if job.upload is not None and job.upload.started:
            reason = None
        if ended.failure is Failure.STATUS:
            if reason is not None:
                return HeldAnswer(reason, relay)
            relay.pass_held_on()
            return None
        error = error_of(ended)
        if reason is not None:
            return Unanswered(reason, error)
        raise error

    async def exchange(self, job: Job, replica: LiveReplica) -> Relay:
        """One request and its answer, on a kept connection if there is one, else on a new one.

        Returns the relay once its outcome is known. Public because tracing wraps it.
        """
        # An upload could not be sent again if the replica has just closed the kept connection.
        connection = None if job.upload is not None else replica.connections.take_idle(time.monotonic())
        while True:
            kept = connection is not None
            if connection is None:
                connection = await replica.connections.connect(job.pool.view.timeouts.connect_s)
            relay = self._start(job, replica, connection)
            try:
                if job.upload is not None:
                    job.request_bytes += await self._pump(job.upload, connection, relay)
                ended = await relay.outcome
            except asyncio.CancelledError:
                relay.client_gone()
                raise
            finally:
                self._deadlines.discard(relay)
                job.client.listener = None
            if not kept or ended.failure is not Failure.CLOSED or connection.answered:
                return relay
            # The replica had already closed it: nothing came back, not even a status.
            job.pool.meter.retry("stale_connection")
            connection = None

    def _start(self, job: Job, replica: LiveReplica, connection: Connection) -> Relay:
        relay = Relay(job, replica)
        client = job.client
        client.listener = relay
        self._deadlines.add(relay)
        if client.transport is None:
            relay.client_gone()
            connection.abandon()
            return relay
        if not job.sent_at:
            job.sent_at = time.monotonic()
        relay.start(connection, job, replica)
        if client.slow:
            # It has not yet taken an earlier answer, and will not be told of its slowness again.
            relay.pause_reading()
        return relay

    async def _pump(self, upload: Upload, connection: Connection, relay: Relay) -> int:
        """Write the rest of the body until it is all written or the answer is over before that.

        Returns what of it is known to have been written, in bytes.
        """
        pump = asyncio.ensure_future(upload.pump(connection))
        try:
            await asyncio.wait((pump, relay.outcome), return_when=asyncio.FIRST_COMPLETED)
            return pump.result() if pump.done() else 0
        except GatewayError:
            relay.client_gone()
            raise
        finally:
            pump.cancel()
            await asyncio.wait((pump,))  # only one may read the client's body, and what is left is read next
