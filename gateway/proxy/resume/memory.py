"""How much a worker keeps for resuming, over all its streams, and what is kept of which stream."""

from gateway.fleet.snapshot import ResumeMode
from gateway.proxy.resume.recording import Recording
from gateway.proxy.resume.request import with_token_ids
from gateway.proxy.resume.tape import Tape
from gateway.proxy.resume.text import TextTape
from gateway.telemetry.meters import WorkerMeter

_LONG_FOR_LIMIT = 2
"""Ids of a prompt take about as many bytes as its text; of one this much longer they can't fit."""


class ResumeMemory:
    """Hands out tapes and keeps their sum below a bound, both in bytes."""

    def __init__(self, stream_limit_bytes: int, worker_limit_bytes: int, meter: WorkerMeter) -> None:
        self._stream_limit = stream_limit_bytes
        self._worker_limit = worker_limit_bytes
        self._meter = meter
        self._used = 0

    def tape_for(self, mode: ResumeMode, body: bytes, token_ids: object) -> tuple[bytes, Recording | None]:
        """The body of a stream's request as its replica is to get it, and the tape for its answer.

        `token_ids` is the request's own `return_token_ids`. vLLM may take other values than `true` for yes:
        such a request is left alone.
        """
        if mode is ResumeMode.TEXT:
            return body, TextTape(self._stream_limit, self._account)
        if mode is ResumeMode.OFF or not isinstance(token_ids, bool | None):
            return body, None
        tape = Tape(self._stream_limit, self._account, client_asked_for_ids=token_ids is True)
        if len(body) > _LONG_FOR_LIMIT * self._stream_limit:
            tape.overflown = True  # it would be, and vLLM need not send so long a prompt's ids
            return body, tape
        return body if token_ids else with_token_ids(body), tape

    def _account(self, change: int) -> bool:
        if self._used + change > self._worker_limit:
            return False
        self._used += change
        self._meter.resume_buffer(change)
        return True
