"""Answers that are made here: errors, the model list, health."""

from gateway.fleet.snapshot import ModelName
from gateway.proxy.errors import GatewayError
from gateway.proxy.headers import status_line


def json_message(status: int, body: bytes, added: bytes, *, close: bool, head_only: bool = False) -> bytes:
    """A whole answer, less its body for a HEAD. `added` are more header lines, each ended."""
    return b"".join(
        (
            status_line(status),
            b"content-type: application/json\r\n",
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
