"""Handler of multipart requests: audio transcription, which tells what arrived."""

from dataclasses import dataclass
from email.message import Message

import orjson

from gateway.sim import errors
from gateway.sim.connection import Request
from gateway.sim.routes import Call
from gateway.sim.wire import JSON, Response


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body."""

    name: str
    filename: str | None
    content: bytes


def _header_parameter(value: str, parameter: str) -> str | None:
    message = Message()
    message["content-disposition"] = value
    found = message.get_param(parameter, header="content-disposition")
    return found if isinstance(found, str) else None


def read_multipart(request: Request) -> dict[str, Part]:
    """Split a ``multipart/form-data`` body into its parts by name (RFC 7578).

    Raises:
        ApiError: Not multipart, or without a boundary.
    """
    content_type = request.header("content-type") or ""
    boundary = _header_parameter(content_type, "boundary")
    if not content_type.startswith("multipart/form-data") or not boundary:
        raise errors.invalid_field("missing", "body.file", "Field required", "<dict of 0 items>")
    parts: dict[str, Part] = {}
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    for piece in (b"\r\n" + request.body).split(delimiter)[1:]:
        head, separator, content = piece.partition(b"\r\n\r\n")
        if not separator:
            continue
        lines = head.decode("latin-1").split("\r\n")
        disposition = next((line for line in lines if line.lower().startswith("content-disposition:")), "")
        value = disposition.partition(":")[2]
        name = _header_parameter(value, "name")
        if name:
            parts[name] = Part(name, _header_parameter(value, "filename"), content)
    return parts


def transcribe(call: Call) -> Response:
    """POST /v1/audio/transcriptions: the text names the file and its size."""
    parts = read_multipart(call.request)
    if "file" not in parts:
        raise errors.invalid_field("missing", "body.file", "Field required", f"<dict of {len(parts)} items>")
    given = parts["model"].content.decode("utf-8", "replace") if "model" in parts else None
    model, adapter = call.state.resolve(given)
    call.state.count(call.entry, model, adapter)
    file = parts["file"]
    text = f"{file.filename or 'unnamed'}: {len(file.content)} bytes"
    return Response(200, orjson.dumps({"text": text, "usage": {"type": "duration", "seconds": 1}}), JSON)
