"""A relay between a client and a replica made of plain values."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from gateway.proxy.answer import Answer
from gateway.proxy.headers import Header
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.outcome import Ended, Failure
from gateway.proxy.relay import Relay
from gateway.proxy.routes import Routes
from gateway.proxy.upstream.connection import Connection, Take

SSE: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8")]
CHAT, RESPONSES, MESSAGES, LATER = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/later"
ROLE = b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = ' wörd \\n\\n data: {\\"error\\"'
WORD = f'data: {{"id":"1","choices":[{{"index":0,"delta":{{"content":"{TEXT}"}}}}]}}\n\n'.encode()
DONE = b"data: [DONE]\n\n"
STREAM = ROLE + WORD + WORD + DONE
ERROR = b'data: {"error": {"message": "EngineCore encountered an issue.", "code": 500}}\n\n'
ABORT = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}\n\n'
CLOSED = Ended(Failure.CLOSED, "the connection was closed")


@dataclass
class FakeClient:
    sent: bytes = b""
    last: bool = False
    closed: str = ""

    def write(self, data: bytes) -> None:
        self.sent += data

    def hang_up(self, *, flush: bool) -> None:
        self.closed = "flushed" if flush else "aborted"


@dataclass
class FakeConnection:
    """The replica's side: what it answered, and what was done with it."""

    status: int
    headers: list[Header]
    calls: list[str] = field(default_factory=list)
    written: bytes = b""

    def begin(self, relay: Relay, head: bytes, body: bytes, *, finished: bool) -> None:
        assert finished
        self.written = head + body
        self.take: Take = relay.received

    def abandon(self) -> None:
        self.calls.append("abandon")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Attempt:
    """A relay between a fake client and a fake replica."""

    def __init__(self, path: str = CHAT, status: int = 200, headers: list[Header] | None = None) -> None:
        self.client = FakeClient()
        self.answer = Answer(self.client, http_1_0=False)
        self.gaps: list[float] = []
        self.upload: Any = None
        self.job = SimpleNamespace(
            answer=self.answer,
            route=Routes().find("POST", path),
            pool=SimpleNamespace(meter=SimpleNamespace(itl=SimpleNamespace(observe=self.gaps.append))),
            tape=None,
            id_line=b"x-request-id: 1\r\n",
            upload=None,
            head=lambda _: b"head",
            body=b"body",
        )
        replica = cast("LiveReplica", SimpleNamespace(served_by=b"x-served-by: r\r\n"))
        self.relay = Relay(cast("Job", self.job), replica)
        self.connection = FakeConnection(status, SSE if headers is None else headers)
        self.relay.start(cast("Connection", self.connection), cast("Job", self.job), replica)

    def take(self, *pieces: bytes, complete: bool = True) -> "Attempt":
        for piece in pieces:
            if not self.relay.outcome.done():
                self.connection.take(piece, False)  # noqa: FBT003
        if complete and not self.relay.outcome.done():
            self.connection.take(b"", True)  # noqa: FBT003
        return self

    @property
    def ended(self) -> Ended:
        return self.relay.outcome.result()

    @property
    def body(self) -> bytes:
        """What the client got of the body, without its framing."""
        rest = self.client.sent.partition(b"\r\n\r\n")[2]
        found = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return found


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
