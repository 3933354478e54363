"""Answers that are made here: errors, the model list, health."""

from gateway.fleet.snapshot import ModelName
from gateway.proxy.errors import GatewayError

_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}


def json_message(status: int, body: bytes, added: bytes, *, close: bool, head_only: bool = False) -> bytes:
    """A whole answer, less its body for a HEAD. `added` are more header lines, each ended."""
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n" % (status, _REASONS.get(status, b"")),
            b"content-length: %d\r\n" % len(body),
            b"connection: close\r\n" if close else b"",
            added,
            b"\r\n",
            b"" if head_only else body,
        )
    )


def error_message(error: GatewayError, added: bytes, *, close: bool, head_only: bool = False) -> bytes:
    """An error as a whole answer, marked as the gateway's own."""
    added += b"x-gateway-error: " + error.origin.encode() + b"\r\n"
    if error.retry_after_s is not None:
        # Whole seconds, and never zero: zero invites a tight loop (RFC 9110, section 10.2.3).
        added += b"retry-after: %d\r\n" % max(1, round(error.retry_after_s))
    if error.status == 401:  # noqa: PLR2004
        added += b"www-authenticate: Bearer\r\n"
    return json_message(error.status, error.body(), added, close=close, head_only=head_only)


def model_card(name: ModelName, created: int) -> dict[str, object]:
    """One entry of `GET /v1/models`, with vLLM's fields."""
    return {
        "id": name.name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": name.root or name.upstream,
        "parent": name.parent,
        "max_model_len": name.max_model_len,
        "permission": [],
    }
