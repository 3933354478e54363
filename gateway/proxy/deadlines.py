"""Deadlines of running attempts, kept by one coarse sweep instead of a timer for each chunk."""

import time
from collections.abc import Callable

from gateway.fleet.snapshot import State
from gateway.proxy.job import Job
from gateway.proxy.outcome import Failure
from gateway.proxy.relay import Relay

SWEEP_S = 0.25
SILENT_S = 1.0
"""Silence that confirms what probes say of a replica; while tokens arrive, the probes are wrong."""


class Deadlines:
    """All running attempts of a worker.

    `hang_s` is how long a replica whose probes time out may keep all of its requests waiting, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, hang_s: float = 120.0) -> None:
        self._clock = clock
        self._hang_s = hang_s
        self._running: set[Relay] = set()
        # Watch an attempt until `discard`: the set's own method, which costs no Python frame.
        self.add = self._running.add
        self._stalled: dict[Relay, tuple[int, float]] = {}

    def discard(self, relay: Relay) -> None:
        """The attempt is over."""
        self._running.discard(relay)
        if relay.first_byte_at:
            relay.replica.meter.moved(relay.last_progress)
        if self._stalled:
            self._stalled.pop(relay, None)

    def __len__(self) -> int:
        return len(self._running)

    def sweep(self) -> None:
        """Fail what is late; called every `SWEEP_S` seconds."""
        now = self._clock()
        for relay in tuple(self._running):
            self._report(relay)
            self._forget_body(relay.job)
            self._check_replica(relay, now)
            self._check(relay, relay.job, now)

    def fail_all(self, failure: Failure, detail: str) -> None:
        """Give all attempts up: the process ends."""
        for relay in tuple(self._running):
            relay.fail(failure, detail)

    def _report(self, relay: Relay) -> None:
        """Tell whoever looks for hung engines when the answer moved last."""
        if relay.first_byte_at:
            relay.replica.meter.moved(relay.last_progress)

    def _forget_body(self, job: Job) -> None:
        """Nobody sends it again once the client has read a byte, unless the answer may be continued."""
        if job.answer.begun and job.tape is None:
            job.body = job.asked_body = b""

    def _check_replica(self, relay: Relay, now: float) -> None:
        """A silent answer of a replica that is gone or hung will not go on.

        vLLM stopped with SIGTERM refuses new connections and leaves the running ones without a word.
        """
        if now - relay.last_progress < SILENT_S or relay.job.client.slow:
            return
        replica = relay.replica
        if replica.view.state is State.REFUSED:
            relay.fail(Failure.CLOSED, "the replica is gone")
        elif replica.view.hung:
            relay.fail(Failure.HUNG, "the engine is hung")
        elif replica.view.state is State.UNRESPONSIVE and self._is_mute(relay, now):
            relay.fail(Failure.HUNG, "the replica does not answer")

    def _is_mute(self, relay: Relay, now: float) -> bool:
        """Whether no answer of its replica moves. A saturated one answers probes late, but its streams do."""
        return now - max(relay.last_progress, relay.replica.last_byte_at) > self._hang_s

    def _check(self, relay: Relay, job: Job, now: float) -> None:
        timeouts = job.pool.view.timeouts
        # Counted from the request's arrival, so that attempts share one deadline.
        age = now - job.received_at
        if timeouts.total_s is not None and age > timeouts.total_s:
            relay.fail(Failure.TOTAL_TIMEOUT, f"the answer took longer than {timeouts.total_s:g} s")
        elif not job.answer.begun:
            if age > timeouts.first_byte_s:
                relay.fail(Failure.FIRST_BYTE_TIMEOUT, f"no answer within {timeouts.first_byte_s:g} s")
        elif job.client.slow:
            self._check_reader(relay, job, now)
        else:
            self._stalled.pop(relay, None)  # the client has caught up: its next stall is another
            if now - relay.last_progress > timeouts.idle_s:
                relay.fail(Failure.IDLE_TIMEOUT, f"the answer stopped for {timeouts.idle_s:g} s")

    def _check_reader(self, relay: Relay, job: Job, now: float) -> None:
        """The replica waits for the client here: the silence is the client's."""
        unsent = job.client.unsent_bytes()
        before, since = self._stalled.get(relay, (-1, now))
        if unsent != before:
            self._stalled[relay] = unsent, now
        elif now - since > job.pool.view.timeouts.idle_s:
            relay.client_gone()
            job.client.hang_up(flush=False)
