"""Deadlines of running attempts, kept by one coarse sweep instead of a timer for each chunk."""

import time
from collections.abc import Callable

from gateway.fleet.snapshot import Timeouts
from gateway.proxy.answer import Answer
from gateway.proxy.front import ClientConnection
from gateway.proxy.relay import Failure, Relay

SWEEP_S = 0.25


class Watch:
    """The deadlines of one attempt."""

    __slots__ = (
        "_answer",
        "_client",
        "_first_byte_by",
        "_timeouts",
        "_total_by",
        "_unsent",
        "_unsent_since",
        "relay",
    )

    def __init__(
        self, relay: Relay, answer: Answer, client: ClientConnection, timeouts: Timeouts, received_at: float
    ) -> None:
        self.relay = relay
        self._answer = answer
        self._client = client
        self._timeouts = timeouts
        # Counted from the request's arrival, so that attempts share one deadline.
        self._first_byte_by = received_at + timeouts.first_byte_s
        self._total_by = None if timeouts.total_s is None else received_at + timeouts.total_s
        self._unsent = 0
        self._unsent_since = 0.0

    def check(self, now: float) -> None:
        """Fail the attempt if it is late."""
        relay = self.relay
        if self._total_by is not None and now > self._total_by:
            relay.fail(Failure.TOTAL_TIMEOUT, f"the answer took longer than {self._timeouts.total_s:g} s")
        elif not self._answer.begun:
            if now > self._first_byte_by:
                limit = self._timeouts.first_byte_s
                relay.fail(Failure.FIRST_BYTE_TIMEOUT, f"no answer within {limit:g} s")
        elif self._client.writing_paused:
            self._check_reader(now)
        elif now - relay.last_progress > self._timeouts.idle_s:
            relay.fail(Failure.IDLE_TIMEOUT, f"the answer stopped for {self._timeouts.idle_s:g} s")

    def _check_reader(self, now: float) -> None:
        """The replica waits for the client here: the silence is the client's."""
        unsent = self._client.unsent_bytes()
        if unsent != self._unsent or not self._unsent_since:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > self._timeouts.idle_s:
            relay, client = self.relay, self._client
            relay.client_gone()
            client.hang_up(flush=False)


class Deadlines:
    """All running attempts of a worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches: set[Watch] = set()

    def add(self, watch: Watch) -> None:
        """Watch an attempt until `discard`."""
        self._watches.add(watch)

    def discard(self, watch: Watch) -> None:
        """The attempt is over."""
        self._watches.discard(watch)

    def __len__(self) -> int:
        return len(self._watches)

    def sweep(self) -> None:
        """Check all; called every `SWEEP_S` seconds."""
        now = self._clock()
        for watch in tuple(self._watches):
            watch.check(now)

    def fail_all(self, failure: Failure, detail: str) -> None:
        """Give all attempts up: the process ends."""
        for watch in tuple(self._watches):
            watch.relay.fail(failure, detail)
