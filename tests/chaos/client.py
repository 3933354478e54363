"""One client: sends a request and keeps what it hears, with the times between."""

import asyncio
import time
from dataclasses import dataclass, field

import httptools

from tests.chaos.questions import Question
from tests.integration.sim_client import encode

PATIENCE_S = 60.0
"""No request may take so long, whatever dies meanwhile."""


@dataclass(slots=True)
class Heard:
    """What came back. `complete` says that the framing ended as it should."""

    began: float
    ended: float = 0.0
    status: int = 0
    body: bytes = b""
    complete: bool = False
    timed_out: bool = False
    first_byte_s: float = 0.0
    worst_gap_s: float = 0.0


@dataclass
class _Parser:
    """What `httptools` calls back."""

    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


class Client:
    """Keeps its connection from request to request, as clients do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, question: Question, leave_after: int | None) -> Heard:
        """Ask; hang up after so many body pieces where `leave_after` says so."""
        request = encode("POST", question.path, question.body)
        heard = Heard(time.monotonic())
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._kept is not None:
                    await self._exchange(request, heard, leave_after)
                if not heard.status and not heard.complete:
                    # A kept connection may have gone while it idled: no client takes that for an answer.
                    self._kept = await asyncio.open_connection("127.0.0.1", self._port)
                    await self._exchange(request, heard, leave_after)
        except TimeoutError:
            heard.timed_out = True
            self.close()
        except OSError:
            self.close()
        heard.ended = time.monotonic()
        return heard

    async def _exchange(self, request: bytes, heard: Heard, leave_after: int | None) -> None:
        assert self._kept is not None
        reader, writer = self._kept
        parsed = _Parser()
        parser = httptools.HttpResponseParser(parsed)
        sent = last = time.monotonic()
        try:
            writer.write(request)
            while not parsed.complete and (data := await reader.read(1 << 16)):
                parser.feed_data(data)
                now = time.monotonic()
                heard.status = parser.get_status_code()
                if not heard.first_byte_s:
                    heard.first_byte_s = now - sent
                else:
                    heard.worst_gap_s = max(heard.worst_gap_s, now - last)
                last = now
                if leave_after is not None and len(parsed.pieces) >= leave_after:
                    break
        except ConnectionError:
            pass
        heard.body, heard.complete = b"".join(parsed.pieces), parsed.complete
        if not parsed.complete or not parser.should_keep_alive():
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self._kept is not None:
            self._kept[1].transport.abort()
            self._kept = None
