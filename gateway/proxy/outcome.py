"""How an attempt ended."""

from dataclasses import dataclass
from enum import Enum


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
    HUNG = "hung"
    STARTED_OVER = "started_over"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. All good: neither `failure` nor `client_gone`."""

    failure: Failure | None = None
    detail: str = ""
    client_gone: bool = False


COMPLETE = Ended()
"""The answer is all there."""
