"""Response bytes as uvicorn under vLLM writes them: header order, lower case names, framing."""

import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer. `headers` come before content-length, as ``allow`` does under vLLM."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: tuple[tuple[str, str], ...] = ()
    vary: bool = True
    """``vary: Origin``: everything that passes vLLM's CORS layer has it."""


def _status_line(status: int) -> str:
    date = formatdate(time.time(), usegmt=True)
    return f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\ndate: {date}\r\nserver: uvicorn\r\n"


def response_head(
    response: Response, *, extra: str = "", close: bool = False, length_delta: int = 0
) -> bytes:
    """Build the head of a complete response.

    Args:
        response: What is answered.
        extra: Further header lines, each ending in CRLF.
        close: Announce that the connection ends here.
        length_delta: Added to the true content-length (a fault).
    """
    lines = [_status_line(response.status)]
    lines += [f"{name}: {value}\r\n" for name, value in response.headers]
    lines.append(f"content-length: {len(response.body) + length_delta}\r\n")
    if response.content_type is not None:
        lines.append(f"content-type: {response.content_type}\r\n")
    if response.vary:
        lines.append("vary: Origin\r\n")
    lines.append(extra)
    if close:
        lines.append("connection: close\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def stream_head(*, extra: str = "", close: bool = False) -> bytes:
    """Build the head of an event stream; vLLM sends it before the request is even scheduled."""
    connection = "connection: close\r\n" if close else ""
    return (
        f"{_status_line(200)}content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n{extra}"
        f"{connection}transfer-encoding: chunked\r\n\r\n"
    ).encode("latin-1")


def invalid_request() -> bytes:
    """Answer what is no HTTP at all, as uvicorn does."""
    body = b"Invalid HTTP request received."
    return (
        f"{_status_line(400)}content-type: {TEXT}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode() + body


def chunk(data: bytes) -> bytes:
    """Frame one event as one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
