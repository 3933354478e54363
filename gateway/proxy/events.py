"""Server-sent events: where one ends, and what says that the engine gave up.

vLLM ends lines with LF. Other servers end them with CR LF, and theirs pass as they come, too.

Nothing here parses a healthy event. What is searched for can't occur inside a JSON string, where quotes and
line feeds are escaped.
"""

from dataclasses import dataclass

from gateway.proxy.outcome import Failure

EVENT_LIMIT_BYTES = 8 << 20
"""Longest event that is completed before it is passed on; anything longer goes through in pieces.

The ids of a prompt of a million tokens come in one event: whole, they can be kept from a client that did not
ask for them.
"""

ERROR_EVENT = b'data: {"error"'
ROLE_EVENT = b'"delta":{"role":"assistant","content":""}'
ABORTED = b'"finish_reason":"abort"'
_ERROR_LINE = b"\n" + ERROR_EVENT
_EVENT = b"data: "
_END = b"\n\n"
_CRLF_END = b"\n\r\n"  # of a line that ended with CR LF or with LF
_ENDS = (_END, _CRLF_END)


def whole_events(data: bytes, *, everything: bool) -> tuple[bytes, bytes]:
    """Data up to the end of its last whole event, and the rest: a client never sees half of one."""
    if everything or len(data) > EVENT_LIMIT_BYTES:
        return data, b""
    end = data.rfind(_END) + len(_END)
    if end < len(_END):
        end = 0
    # Only behind that, so that it costs next to nothing where every line ends with LF.
    at = data.rfind(_CRLF_END, end)
    if at >= 0:
        end = at + len(_CRLF_END)
    return data[:end], data[end:]


def up_to_end(data: bytes, ends: tuple[bytes, ...]) -> bytes:
    """Data up to its end marker, where the marker is a whole event: nothing belongs behind it."""
    for marker in ends:
        if marker.endswith(_ENDS) and (at := data.find(marker)) >= 0:
            return data[: at + len(marker)]
    return data


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """Where in the data the engine gave up. `event` is its own error event, if it sent one."""

    start: int
    failure: Failure
    detail: str
    event: bytes = b""


def engine_failure(data: bytes) -> EngineFailure | None:
    """What vLLM says in a stream when it can't go on, followed as it is by an ordinary end."""
    start = 0 if data.startswith(ERROR_EVENT) else data.find(_ERROR_LINE) + 1
    if start or data.startswith(ERROR_EVENT):
        event = _first_event(data[start:])
        return EngineFailure(start, Failure.ERROR_EVENT, "the engine reported an error", event)
    aborted = data.find(ABORTED)
    if aborted >= 0:
        start = max(0, data.rfind(_EVENT, 0, aborted))
        return EngineFailure(start, Failure.ABORTED, "the engine aborted the request")
    return None


def _first_event(data: bytes) -> bytes:
    """The event that data begin with, ended if it is not."""
    ends = [at + len(end) for end in _ENDS if (at := data.find(end)) >= 0]
    return data[: min(ends)] if ends else data + _END
