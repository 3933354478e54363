"""Every way a request can fail here, and what the client reads of it.

Two families, by whose fault it was: `ClientError` (the request is wrong or too much) and `UpstreamError`
(a replica failed, by phase). Bodies have OpenAI's shape, in vLLM's own words where vLLM has the case.
"""

from typing import ClassVar

import orjson


class GatewayError(Exception):
    """A failure with an HTTP status.

    `origin` goes into `x-gateway-error`, so that a gateway's error is never taken for an engine's.
    """

    status: ClassVar[int]
    type: ClassVar[str]
    origin: ClassVar[str]

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """The JSON body, in OpenAI's shape."""
        return orjson.dumps(
            {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.status}}
        )

    def event(self) -> bytes:
        """The same as an event, for a stream that can't be finished."""
        return b"data: " + self.body() + b"\n\n"


class ClientError(GatewayError):
    """The request is at fault, or there is too much of it."""


class BadRequest(ClientError):
    """The body or the request line can't be understood."""

    status, type, origin = 400, "BadRequestError", "bad_request"


class Unauthorized(ClientError):
    """No key, or a wrong one."""

    status, type, origin = 401, "AuthenticationError", "unauthorized"


class ModelNotFound(ClientError):
    """No pool knows the name."""

    status, type, origin = 404, "NotFoundError", "model_not_found"


class RouteNotFound(ClientError):
    """The path is none of vLLM's inference routes."""

    status, type, origin = 404, "NotFoundError", "route_not_found"


class MethodNotAllowed(ClientError):
    """The path exists, the method doesn't."""

    status, type, origin = 405, "BadRequestError", "method_not_allowed"


class HeaderTimeout(ClientError):
    """The head came too slowly."""

    status, type, origin = 408, "RequestTimeout", "header_timeout"


class BodyTimeout(ClientError):
    """The body came too slowly."""

    status, type, origin = 408, "RequestTimeout", "body_timeout"


class BodyTooLarge(ClientError):
    """The body is above the limit."""

    status, type, origin = 413, "BadRequestError", "body_too_large"


class UnsupportedBody(ClientError):
    """A compressed body: vLLM reads none."""

    status, type, origin = 415, "BadRequestError", "unsupported_body"


class ExpectationFailed(ClientError):
    """An `Expect` other than `100-continue` (RFC 9110, section 10.1.1)."""

    status, type, origin = 417, "BadRequestError", "expectation_failed"


class QueueFull(ClientError):
    """Every replica is at its cap and so is the queue."""

    status, type, origin = 429, "RateLimitError", "queue_full"


class ClientGone(ClientError):
    """The client left; nobody reads this. 499 as in nginx's log."""

    status, type, origin = 499, "ClientDisconnected", "client_gone"


class InternalError(GatewayError):
    """A bug in the gateway."""

    status, type, origin = 500, "InternalServerError", "internal"


class UpstreamError(GatewayError):
    """A replica failed."""

    status, type, origin = 502, "BadGatewayError", "upstream"


class NoReplica(UpstreamError):
    """The model is known and nobody can serve it now."""

    status, type, origin = 503, "ServiceUnavailableError", "no_replica"


class QueueTimeout(UpstreamError):
    """Nobody had room in time."""

    status, type, origin = 503, "ServiceUnavailableError", "queue_timeout"


class ShuttingDown(UpstreamError):
    """The gateway is going away."""

    status, type, origin = 503, "ServiceUnavailableError", "shutting_down"


class OutOfSockets(UpstreamError):
    """This machine has no descriptor or no port left for a connection to a replica: no fault of that one."""

    status, type, origin = 503, "ServiceUnavailableError", "out_of_sockets"


class ConnectFailed(UpstreamError):
    """No connection to the replica."""

    origin = "connect_failed"


class ReplicaFailed(UpstreamError):
    """The replica closed, reset or garbled its answer."""

    origin = "replica_failed"


class FirstByteTimeout(UpstreamError):
    """The replica sent nothing in time."""

    status, type, origin = 504, "GatewayTimeoutError", "first_byte_timeout"


class IdleTimeout(UpstreamError):
    """The replica stopped in the middle."""

    status, type, origin = 504, "GatewayTimeoutError", "idle_timeout"


class TotalTimeout(UpstreamError):
    """The answer took longer than the model's limit."""

    status, type, origin = 504, "GatewayTimeoutError", "total_timeout"
