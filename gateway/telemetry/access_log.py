"""The access log: one JSON line a request.

Never holds a header, a body or a key, so that nothing secret can end up in it.
"""

import os
import sys
import time
from pathlib import Path

import orjson

from gateway.telemetry.record import RequestRecord


class AccessLog:
    """Appends lines to a file or to standard output; several workers may share the target.

    Each line is one `write` to a descriptor opened for appending, which is what keeps lines whole.
    """

    def __init__(self, target: str) -> None:
        """Open `target`, a path, or `-` for standard output. Raises `OSError`."""
        if target == "-":
            self._fd = os.dup(sys.stdout.fileno())
        else:
            self._fd = os.open(Path(target), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, record: RequestRecord) -> None:
        """Log one request. Durations in seconds."""
        since = record.received_at
        prompt_tokens, completion_tokens = record.tokens
        line = {
            "time": time.time(),
            "id": record.request_id,
            "client": record.client_address,
            "method": record.method,
            # A path that is no valid Unicode must not lose the line.
            "path": record.path.encode("utf-8", "replace").decode(),
            "model": record.model,
            "adapter": record.adapter,
            "replica": record.replica,
            "attempts": record.attempts,
            "status": record.status,
            "stream": record.stream,
            "request_bytes": record.request_bytes,
            "response_bytes": record.response_bytes,
            "queued": round(record.queued_s, 6),
            "ttft": round(record.first_byte_at - since, 6) if record.first_byte_at else None,
            "duration": round(record.ended_at - since, 6),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "outcome": record.outcome,
            "error": record.error or None,
        }
        os.write(self._fd, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Close the target."""
        os.close(self._fd)
