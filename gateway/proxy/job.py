"""One request on its way: what was asked, who asks, and the bytes that go to a replica."""

from dataclasses import dataclass

from gateway.fleet.snapshot import ModelName
from gateway.proxy.answer import Answer
from gateway.proxy.front import ClientConnection
from gateway.proxy.headers import request_head
from gateway.proxy.lease import LiveReplica
from gateway.proxy.live import LivePool
from gateway.proxy.routes import Route
from gateway.proxy.upload import Upload
from gateway.telemetry.record import RequestRecord


@dataclass(slots=True)
class Job:
    """Everything an attempt needs. `body` is complete unless `upload` brings the rest of it."""

    client: ClientConnection
    answer: Answer
    record: RequestRecord
    route: Route
    target: bytes
    headers: bytes
    authorization: bytes
    pool: LivePool
    model: ModelName
    body: bytes
    priority: int = 0
    upload: Upload | None = None

    @property
    def added_headers(self) -> bytes:
        """The header lines that every answer to this request carries."""
        return b"x-request-id: " + self.record.request_id.encode("ascii") + b"\r\n"

    def message(self, replica: LiveReplica) -> list[bytes]:
        """The request as that replica is to read it."""
        connections = replica.connections
        head = request_head(
            connections.path_prefix + self.target,
            self.headers,
            connections.host_header,
            # The replica's own key; the client's only where the operator wants it passed on.
            replica.authorization or self.authorization,
            self._framing(),
        )
        if not self.body:
            return [head]
        return [head, self.body if self.upload is None else self.upload.frame(self.body)]

    def _framing(self) -> bytes:
        if self.upload is None:
            return b"content-length: %d\r\n" % len(self.body)
        return self.upload.framing(len(self.body))
