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
from dataclasses import dataclass
from enum import Enum

from gateway.proxy.headers import ResponseHeaders
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.upstream.connection import Connection

HELD_LIMIT_BYTES = 64 << 10
"""Longest error answer that is held back until it is clear whether another replica is asked."""
EVENT_LIMIT_BYTES = 1 << 20
"""Longest event that is completed before it is passed on; anything longer goes through in pieces."""

HELD_STATUSES = frozenset((429, 500, 502, 503))
_ERROR_EVENT = b'data: {"error"'
_ERROR_LINE = b"\n" + _ERROR_EVENT
_ABORTED = b'"finish_reason":"abort"'


class Failure(Enum):
    """Why an attempt did not end well."""

    CLOSED = "closed"
    STATUS = "status"
    ERROR_EVENT = "error_event"
    ABORTED = "aborted"
    TRUNCATED = "truncated"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. All good: neither `failure` nor `client_gone`."""

    failure: Failure | None = None
    detail: str = ""
    client_gone: bool = False


class Relay:
    """Takes what a connection receives and passes it on, until the answer is complete or can't be."""

    __slots__ = (
        "_added",
        "_answer",
        "_carry",
        "_connection",
        "_ends",
        "_headers",
        "_held",
        "_last_event",
        "_meter",
        "_take",
        "error_event",
        "first_byte_at",
        "job",
        "last_data",
        "last_progress",
        "outcome",
        "reason",
        "saw_end",
        "status",
        "streaming",
    )

    def __init__(self, job: Job, replica: LiveReplica) -> None:
        self.job = job
        self._answer = job.answer
        self._ends = job.route.ends
        self._meter = job.pool.meter
        self._added = job.request_id + replica.served_by
        # Resolves with the end of the attempt.
        self.outcome: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._connection: Connection | None = None
        self._take = self._first
        self._carry = b""
        self._held: list[bytes] = []
        self._last_event = 0.0
        self.last_progress = 0.0
        self.first_byte_at = 0.0
        self.status = 0
        self.reason = b""
        self._headers = ResponseHeaders(())
        self.streaming = False
        self.saw_end = False
        self.error_event = b""
        self.last_data = b""

    # -- used by whoever handles the request --

    def start(self, connection: Connection, job: Job, replica: LiveReplica) -> None:
        """Write the request; where it has an upload, that brings the rest of the body."""
        self._connection = connection
        self.last_progress = time.monotonic()
        connection.begin(self, job.head(replica), job.first_body, finished=job.upload is None)

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

    def received(self, parts: list[bytes], *, complete: bool) -> None:
        """Take what one read brought."""
        self.last_progress = time.monotonic()
        self._take(parts[0] if len(parts) == 1 else b"".join(parts), complete)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._connection = None
        if self.saw_end:
            # The answer was all there; only its framing was not finished.
            self._answer.finish()
            self._end(Ended())
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

    def _first(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        connection = self._connection
        assert connection is not None
        self.status, self.reason = connection.status, connection.reason
        self._headers = ResponseHeaders(connection.headers)
        if self.status in HELD_STATUSES:
            self._take = self._hold
        else:
            self._prepare()
            self.streaming = self._headers.is_event_stream
            self._take = self._events if self.streaming else self._plain
        self._take(data, complete)

    def _prepare(self) -> None:
        self.first_byte_at = self.last_progress
        self._answer.prepare(self.status, self.reason, self._headers, self._added)

    def _hold(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        self._held.append(data)
        if complete:
            self._connection = None  # it is free for others; only the verdict on the answer is open
            self._end(Ended(Failure.STATUS, f"HTTP {self.status}"))
        elif sum(map(len, self._held)) > HELD_LIMIT_BYTES:
            self._prepare()
            self._take = self._plain
            self._plain(self.held_body, complete=False)

    # -- passing on --

    def _plain(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        self.last_data = data
        if complete:
            self._answer.finish(data)
            self._end(Ended())
        else:
            self._answer.write(data)

    def _events(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        if self._carry or not data.endswith(b"\n\n"):
            data = self._whole_events(data, everything=complete)
        if data:
            if self._last_event:
                self._meter.itl.observe(self.last_progress - self._last_event)
            self._last_event = self.last_progress
            if not self._is_healthy(data):
                return
            self.last_data = data
            if not complete:
                self._answer.write(data)
        if complete:
            self._finish_stream(data)

    def _whole_events(self, data: bytes, *, everything: bool) -> bytes:
        """Data up to the end of its last whole event; the rest is carried over to the next read."""
        data = self._carry + data
        if everything or len(data) > EVENT_LIMIT_BYTES:
            self._carry = b""
            return data
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            end = 0
        self._carry = data[end:]
        return data[:end]

    def _is_healthy(self, data: bytes) -> bool:
        """Look for what vLLM says when it can't go on, and for the end marker, without parsing any event.

        The searched bytes can't occur inside a JSON string: quotes and line feeds are escaped there.
        """
        if data.startswith(_ERROR_EVENT) or _ERROR_LINE in data:
            start = 0 if data.startswith(_ERROR_EVENT) else data.index(_ERROR_LINE) + 1
            if start:
                self._answer.write(data[:start])
            self.error_event = data[start:].partition(b"\n\n")[0] + b"\n\n"
            self._end(Ended(Failure.ERROR_EVENT, "the engine reported an error"))
            return False
        if _ABORTED in data:
            self._end(Ended(Failure.ABORTED, "the engine aborted the request"))
            return False
        for marker in self._ends:
            if marker in data:
                self.saw_end = True
        return True

    def _finish_stream(self, data: bytes) -> None:
        if self._ends and not self.saw_end:
            if data:
                self._answer.write(data)
            self._end(Ended(Failure.TRUNCATED, "the stream ended without its end marker"))
            return
        self._answer.finish(data)
        self._end(Ended())
