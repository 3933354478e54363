"""One request on its way: what was asked, who asks, what goes to a replica, and what became of it."""

import time

from gateway.fleet.snapshot import ModelName
from gateway.proxy.answer import Answer
from gateway.proxy.client import ClientConnection
from gateway.proxy.headers import RequestHeaders, request_head
from gateway.proxy.lease import LiveReplica
from gateway.proxy.live import LivePool
from gateway.proxy.resume.recording import Recording
from gateway.proxy.routes import Route
from gateway.proxy.upload import Upload
from gateway.telemetry.record import RequestRecord


class Job(RequestRecord):
    """A request from its head to its record.

    Known from the start are who asks and how; `route` follows, and then, from the body, the `model`, the
    `entry` it has in the catalogue, and the `pool` that serves it. `body` is complete unless `upload`
    brings the rest of it; `asked_body` is that of the first attempt, which a later one may have to continue.
    `id_line` and `authorization` are header lines, each ended.
    """

    route: Route
    entry: ModelName
    pool: LivePool
    body: bytes = b""
    asked_body: bytes = b""
    authorization: bytes = b""
    priority: int = 0
    upload: Upload | None = None
    tape: Recording | None = None

    def __init__(
        self, client: ClientConnection, answer: Answer, headers: RequestHeaders, request_id: str, target: str
    ) -> None:
        self.client = client
        self.answer = answer
        self.headers = headers
        self.target = target
        self.id_line = b"x-request-id: %b\r\n" % request_id.encode("ascii")
        super().__init__(request_id, client.address, target.partition("?")[0], time.monotonic())

    def destine(self, pool: LivePool, entry: ModelName, body: bytes) -> None:
        """It is known who serves the request, and what goes there."""
        self.pool = pool
        self.entry = entry
        self.body = self.asked_body = body
        self.model = entry.name
        if entry.parent is not None:
            self.adapter = entry.upstream
        self.request_bytes = len(body)

    def head(self, replica: LiveReplica) -> bytes:
        """The request's head as that replica is to read it."""
        connections = replica.connections
        if self.upload is None:
            framing = b"content-length: %d\r\n" % len(self.body)
        else:
            framing = self.upload.framing(len(self.body))
        # The replica's own key; the client's only where the operator wants it passed on.
        own = framing + self.id_line + (replica.authorization or self.authorization)
        target = connections.path_prefix + self.target.encode("latin-1")
        return request_head(target, self.headers.forwarded, connections.host_header, own)
