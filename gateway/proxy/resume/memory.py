"""How much a worker keeps for resuming, over all its streams."""

from gateway.proxy.resume.tape import Tape
from gateway.proxy.resume.text import TextTape
from gateway.telemetry.meters import WorkerMeter


class ResumeMemory:
    """Hands out tapes and keeps their sum below a bound, both in bytes."""

    def __init__(self, stream_limit_bytes: int, worker_limit_bytes: int, meter: WorkerMeter) -> None:
        self._stream_limit = stream_limit_bytes
        self._worker_limit = worker_limit_bytes
        self._meter = meter
        self._used = 0

    def tape(self, *, client_asked_for_ids: bool) -> Tape:
        """A tape for one stream in mode *exact*."""
        return Tape(self._stream_limit, self._account, client_asked_for_ids=client_asked_for_ids)

    def text_tape(self) -> TextTape:
        """A tape for one stream in mode *text*."""
        return TextTape(self._stream_limit, self._account)

    def _account(self, change: int) -> bool:
        if self._used + change > self._worker_limit:
            return False
        self._used += change
        self._meter.resume_buffer(change)
        return True
