"""What follows a failure in the middle of an answer: its end, its continuation elsewhere, or its break."""

from gateway.proxy.again import Again, break_off, error_of
from gateway.proxy.detokenize import end_at_character
from gateway.proxy.errors import GatewayError
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.relay import Relay
from gateway.proxy.resume.request import closing_events, continuation
from gateway.proxy.resume.tape import Tape

_FINAL = frozenset((Failure.TOTAL_TIMEOUT, Failure.SHUTDOWN))
"""The request's own end: another replica would not change it."""


class Interrupted:
    """The client has part of a stream, and another replica can go on from there."""

    def __init__(self, error: GatewayError, error_event: bytes = b"") -> None:
        self._error = error
        self._event = error_event or error.event()
        self._why_not = "no_replica"
        self.may_wait = True

    async def go_on(self, job: Job, replica: LiveReplica) -> bool:
        """Make sure that the continuation begins with a whole character."""
        tape = job.tape
        if not isinstance(tape, Tape) or not tape.merged:
            return True
        if not await end_at_character(tape, replica):
            self._why_not = "partial_character"
            return False
        body = continuation(job.route.path, job.asked_body, tape)
        assert isinstance(body, bytes)  # it was possible with more tokens, so it is with less
        job.body = body
        return True

    def give_up(self, job: Job) -> None:
        """End the stream with an error event and without a proper end."""
        job.pool.meter.resumed(self._why_not)
        break_off(job, self._error.message, self._event)


def interruption(job: Job, relay: Relay, ended: Ended) -> Again | None:
    """What may still be done for a client that has part of its answer; None when that is all done here."""
    error = error_of(ended)
    event = relay.error_event or error.event()
    tape = job.tape
    if not relay.streaming and (tape is None or tape.rejoin is None):
        # No stream: an event would be taken for a part of the answer.
        break_off(job, ended.detail, b"")
        return None
    if tape is None or ended.failure in _FINAL:
        job.pool.meter.resumed("off")
        break_off(job, ended.detail, event)
        return None
    tape.settle()
    path, body = job.route.path, job.asked_body
    rest = closing_events(body, tape) if tape.finished else continuation(path, body, tape)
    if isinstance(rest, str):
        job.pool.meter.resumed(rest)
        break_off(job, ended.detail, event)
        return None
    if tape.finished:
        job.answer.finish(rest)
        job.pool.meter.resumed("resumed")
        return None
    job.body = rest
    return Interrupted(error, relay.error_event)
