"""One attempt at an answer: from the replica's connection to the client's answer.

What this file must never do: wait, create a task, or keep a healthy byte longer than it takes to complete
the event it belongs to. Everything happens in the callback of the read that brought the bytes, and ends in
one write.

Three rules come from how vLLM behaves. It sends `200` before a request is even scheduled, so nothing goes to
the client before the first byte of the body, and failover stays possible until then. It reports a dead
engine as an error event followed by a clean `[DONE]`, and an abort as an ordinary finish: both are failures
here, whatever the framing says. And a stream without its end marker is cut, however cleanly it ended.
"""

import asyncio
import time

from gateway.proxy.events import ABORTED, ERROR_EVENT, ROLE_EVENT, engine_failure, up_to_end, whole_events
from gateway.proxy.headers import ResponseHeaders
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.outcome import COMPLETE, Ended, Failure
from gateway.proxy.resume.rejoin import NotAContinuation
from gateway.proxy.upstream.connection import Connection

HELD_LIMIT_BYTES = 64 << 10
"""Longest error answer that is held back until it is clear whether another replica is asked."""
HELD_STATUSES = frozenset((404, 429, 500, 502, 503))


class Relay:
    """Takes what a connection receives and passes it on, until the answer is complete or can't be."""

    __slots__ = (
        "_added",
        "_answer",
        "_carry",
        "_connection",
        "_done",
        "_ends",
        "_headers",
        "_held",
        "_last_event",
        "_meter",
        "_pass_plain",
        "_shown",
        "_shown_before",
        "_tape",
        "error_event",
        "first_byte_at",
        "job",
        "last_data",
        "last_progress",
        "outcome",
        "replica",
        "status",
        "streaming",
    )

    def __init__(self, job: Job, replica: LiveReplica) -> None:
        self.job = job
        self.replica = replica
        self._answer = job.answer
        self._ends = job.route.ends
        self._meter = job.pool.meter
        self._tape = tape = job.tape
        self._pass_plain = None if tape is None else tape.pass_plain
        self._added = job.id_line + replica.served_by
        # Resolves with the end of the attempt.
        self.outcome: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._connection: Connection | None = None
        self._carry = b""
        self._held: list[bytes] = []
        self._shown_before = self._shown = b""
        self._last_event = 0.0
        self.last_progress = 0.0
        self.first_byte_at = 0.0
        self.status = 0
        self.streaming = False
        self._done = False
        self.error_event = b""
        self.last_data = b""

    # -- used by whoever handles the request --

    def start(self, connection: Connection, job: Job, replica: LiveReplica) -> None:
        """Write the request; where it has an upload, that brings the rest of the body."""
        self._connection = connection
        self.last_progress = time.monotonic()
        upload = job.upload
        body = job.body if upload is None else upload.frame(job.body)
        connection.begin(self, job.head(replica), body, finished=upload is None)

    def fail(self, failure: Failure, detail: str) -> None:
        """Give up: the replica's connection is closed at once."""
        self._end(Ended(failure, detail))

    def client_gone(self) -> None:
        """The client left. Closing the replica's connection is how vLLM learns to stop."""
        self._end(Ended(client_gone=True))

    def pause_reading(self) -> None:
        """The client reads slower than the replica writes."""
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """The client has caught up."""
        self.last_progress = time.monotonic()
        if self._connection is not None:
            self._connection.resume_reading()

    @property
    def held_body(self) -> bytes:
        """The whole body of an error answer that ended the attempt with `Failure.STATUS`."""
        return b"".join(self._held)

    @property
    def tail(self) -> bytes:
        """The end of what the client was sent: where the usage stands, if it was told."""
        return self._shown_before + self._shown if self.streaming else self.last_data

    def pass_held_on(self) -> None:
        """Send the held error answer to the client after all."""
        self._prepare()
        self._answer.finish(self.held_body)

    def _end(self, ended: Ended) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and (ended.failure or ended.client_gone):
            connection.abandon()
        if not self.outcome.done():
            self.outcome.set_result(ended)

    # -- the replica's side (`gateway.proxy.upstream.connection.Exchange`) --

    def received(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        """Take the first bytes of the body, and leave the rest to the method for such an answer."""
        connection = self._connection
        assert connection is not None
        self.last_progress = time.monotonic()
        self.status = connection.status
        self._headers = headers = ResponseHeaders(connection.headers)
        if self.status in HELD_STATUSES or (self._answer.begun and not self._goes_on()):
            take = self._hold
        else:
            if not self._answer.begun:
                self.first_byte_at = self.last_progress
                self._answer.prepare(self.status, headers, self._added)
            self.streaming = headers.is_event_stream
            take = self._events if self.streaming else self._plain
        if not complete:
            connection.take = take
        take(data, complete)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._connection = None
        if self.streaming and self._saw_end():
            # The answer was all there; only its framing was not finished.
            self._answer.finish()
            self._end(COMPLETE)
        else:
            self._end(Ended(Failure.CLOSED, reason))

    def pause_sending(self) -> None:
        """The replica takes no more of the request for now."""
        if self.job.upload is not None:
            self.job.upload.pause()

    def resume_sending(self) -> None:
        """It does again."""
        if self.job.upload is not None:
            self.job.upload.resume()

    # -- what the first bytes say --

    def _goes_on(self) -> bool:
        """Whether this can be the rest of a stream that another replica began."""
        return self.status == 200 and self._headers.is_event_stream  # noqa: PLR2004

    def _prepare(self) -> None:
        self.first_byte_at = self.last_progress
        self._answer.prepare(self.status, self._headers, self._added)

    def _hold(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        self.last_progress = time.monotonic()
        self._held.append(data)
        if complete:
            self._connection = None  # it is free for others; only the verdict on the answer is open
            self._end(Ended(Failure.STATUS, f"HTTP {self.status}"))
        elif sum(map(len, self._held)) <= HELD_LIMIT_BYTES:
            return
        elif self._answer.begun:
            self._end(Ended(Failure.STATUS, f"HTTP {self.status}"))
        else:
            self._prepare()
            if self._connection is not None:
                self._connection.take = self._plain
            self._plain(self.held_body, complete=False)

    # -- passing on --

    def _plain(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        self.last_progress = time.monotonic()
        self.last_data = data
        if not complete:
            self._answer.write(data)
        elif ABORTED in data and self.job.route.resumable:
            self._connection = None  # nothing is wrong with it
            self._end(Ended(Failure.ABORTED, "the engine aborted the request"))
        elif not (data or self._answer.begun) and self.status == 200 and self.job.route.resumable:  # noqa: PLR2004
            self._end(Ended(Failure.TRUNCATED, "the answer is empty"))
        else:
            self._answer.finish(data)
            self._end(COMPLETE)

    def _events(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        self.last_progress = now = time.monotonic()
        if self._pass_plain is not None and not self._carry and not complete and data.endswith(b"\n\n"):
            shown = self._pass_plain(data)
            if shown is not None:
                # Text and nothing else, and so neither a failure nor an end: nearly always.
                if self._last_event:
                    self._meter.itl.observe(now - self._last_event)
                self._last_event = now
                self.last_data = data
                self._shown_before, self._shown = self._shown, shown
                self._answer.write(shown)
                return
        self._other_events(data, complete, now)

    def _other_events(self, data: bytes, complete: bool, now: float) -> None:  # noqa: FBT001
        if self._carry or not data.endswith(b"\n\n"):
            # Half an event at the end of a stream that has an end marker is what was cut off.
            data, self._carry = whole_events(self._carry + data, everything=complete and not self._ends)
        if self._done:
            data = b""  # nothing belongs behind the end marker
        elif data:
            self._note_pace(data, now)
            shown = self._looked_through(data)
            if shown is None:
                return
            self._shown_before, self._shown, data = self._shown, shown, shown
            if data and not complete:
                self._answer.write(data)
        if complete:
            self._finish_stream(data)

    def _note_pace(self, data: bytes, now: float) -> None:
        if self._last_event:
            self._meter.itl.observe(now - self._last_event)
            self._last_event = now
        elif ROLE_EVENT not in data:
            # vLLM sends the role together with the first token: no time passes between those two.
            self._last_event = now

    def _looked_through(self, data: bytes) -> bytes | None:
        """What the client is to see of the events; None when the attempt ends with them."""
        try:
            if (ERROR_EVENT in data or ABORTED in data) and self._stop_at_failure(data):
                return None
            self.last_data = data
            if data.endswith(self._ends):
                self._done, self._pass_plain = True, None
            if self._tape is not None:
                data = self._tape.edit(data)
                if self._tape.useless:
                    self._tape = self._pass_plain = None
        except NotAContinuation:
            self._end(Ended(Failure.STARTED_OVER, "the replica can't continue an answer"))
            return None
        return data

    def _stop_at_failure(self, data: bytes) -> bool:
        """Pass on what came before the engine gave up, if it did. Raises `NotAContinuation`."""
        failed = engine_failure(data)
        if failed is None:
            return False
        before = data[: failed.start]
        if before and self._tape is not None:
            before = self._tape.edit(before)
        if before:
            self._answer.write(before)
        self.error_event = failed.event
        self._end(Ended(failed.failure, failed.detail))
        return True

    def _saw_end(self) -> bool:
        """Whether the last events hold the end marker; it is never cut, because events are whole here."""
        return any(marker in self.last_data for marker in self._ends)

    def _finish_stream(self, data: bytes) -> None:
        if self.outcome.done():
            return
        if self._ends and not self._saw_end():
            if data:
                self._answer.write(data)
            self._end(Ended(Failure.TRUNCATED, "the stream ended without its end marker"))
            return
        self._answer.finish(up_to_end(data, self._ends))
        self._end(COMPLETE)
