"""One request on its way: what was asked, who asks, and the bytes that go to a replica."""

from dataclasses import dataclass

from gateway.fleet.snapshot import ModelName
from gateway.proxy.answer import Answer
from gateway.proxy.front import ClientConnection
from gateway.proxy.headers import request_head
from gateway.proxy.lease import LiveReplica
from gateway.proxy.live import LivePool
from gateway.proxy.resume.tape import Tape
from gateway.proxy.routes import Route
from gateway.proxy.upload import Upload
from gateway.telemetry.record import RequestRecord


@dataclass(slots=True)
class Job:
    """Everything an attempt needs. `body` is complete unless `upload` brings the rest of it.

    `headers`, `authorization` and `request_id` are header lines, each ended.
    """

    client: ClientConnection
    answer: Answer
    record: RequestRecord
    route: Route
    target: bytes
    headers: bytes
    authorization: bytes
    request_id: bytes
    pool: LivePool
    model: ModelName
    body: bytes
    priority: int
    upload: Upload | None
    tape: Tape | None
    asked_body: bytes = b""
    """The body of the first attempt, where a later one may have to continue the answer."""

    def __post_init__(self) -> None:
        self.asked_body = self.body

    def head(self, replica: LiveReplica) -> bytes:
        """The request's head as that replica is to read it."""
        connections = replica.connections
        if self.upload is None:
            framing = b"content-length: %d\r\n" % len(self.body)
        else:
            framing = self.upload.framing(len(self.body))
        # The replica's own key; the client's only where the operator wants it passed on.
        own = framing + self.request_id + (replica.authorization or self.authorization)
        return request_head(connections.path_prefix + self.target, self.headers, connections.host_header, own)

    @property
    def first_body(self) -> bytes:
        """What is sent of the body together with the head."""
        return self.body if self.upload is None else self.upload.frame(self.body)
