"""vLLM's errors, word for word as recorded from a running 0.32 (and from its source where marked)."""

import json
from typing import Any

import orjson

from gateway.sim.wire import JSON, Response

ENGINE_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
DRAINING = "cannot schedule new futures after shutdown"
BUSY = (
    "The engine is currently busy and cannot accept new requests. "
    "Please try again later or on a different instance."
)


class ApiError(Exception):
    """A request that is answered with an error in OpenAI's shape."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param

    def body(self) -> dict[str, Any]:
        return {
            "error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        }

    def response(self) -> Response:
        return Response(self.status, orjson.dumps(self.body()), JSON)


def bad_value(message: str, param: str | None, value: object = None) -> ApiError:
    """400 of vLLM's own validation; names the parameter, and its value where one is given."""
    notes = [f"parameter={param}"] if param else []
    if value is not None:
        notes.append(f"value={value}")
    suffix = f" ({', '.join(notes)})" if notes else ""
    return ApiError(400, "BadRequestError", message + suffix, param)


def invalid_field(kind: str, loc: str, message: str, shown: str, ctx: str = "") -> ApiError:
    """400 of the request schema (pydantic under FastAPI), as vLLM words it.

    Args:
        kind: pydantic's error type.
        loc: Where, as ``body.messages``.
        message: pydantic's message.
        shown: How vLLM shows the input: its value, or ``<dict of N items>``.
        ctx: The reason under ``ctx.error``, if there is one.
    """
    detail = f"{{'type': '{kind}', 'loc': '{loc}', 'msg': '{message}', 'input': '{shown}'"
    detail += f", 'ctx': {{'error': '{ctx}'}}}}" if ctx else "}"
    return ApiError(400, "Bad Request", f"1 validation error:\n  {detail}", loc)


def missing_field(name: str, body: dict[str, Any]) -> ApiError:
    """A required field is not there."""
    return invalid_field("missing", f"body.{name}", "Field required", f"<dict of {len(body)} items>")


def wrong_type(name: str, expected: str, value: object) -> ApiError:
    """A field has another type than the schema says."""
    return invalid_field("type_error", f"body.{name}", f"Input should be a valid {expected}", str(value)[:60])


def invalid_json(error: json.JSONDecodeError) -> ApiError:
    """The body is not JSON; the position is the standard parser's."""
    return invalid_field(
        "json_invalid", f"body.{error.pos}", "JSON decode error", "<dict of 0 items>", ctx=error.msg
    )


def wrong_media_type() -> ApiError:
    """A JSON route was sent something else."""
    message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
    return ApiError(400, "Bad Request", message)


def unknown_model(name: str, aliases: tuple[str, ...], *, pooling: bool) -> ApiError:
    """404 for a model or adapter that is not here. Pooling servers name no aliases and no parameter."""
    message = f"The model `{name}` does not exist."
    if pooling:
        return ApiError(404, "NotFoundError", message)
    return ApiError(404, "NotFoundError", f"{message} Valid aliases: {', '.join(aliases)}.", "model")


def faulty_status(status: int) -> ApiError:
    """Return what vLLM would say with this status, where it has a saying."""
    kinds = {
        400: ("BadRequestError", "Bad request"),
        404: ("NotFoundError", "Not found"),
        429: ("Too Many Requests", "Too many requests"),
        500: ("InternalServerError", ENGINE_DEAD),
        502: ("Bad Gateway", "Bad gateway"),
        503: ("Service Unavailable", BUSY),
    }
    kind, message = kinds.get(status, ("InternalServerError", "simulated failure"))
    return ApiError(status, kind, message)


def draining() -> ApiError:
    """What a draining or stopping server says to new requests."""
    return ApiError(500, "InternalServerError", DRAINING)


def engine_dead() -> ApiError:
    """The engine process has died under the request."""
    return ApiError(500, "InternalServerError", ENGINE_DEAD)


def engine_busy() -> ApiError:
    """More requests in flight than --max-num-queued-reqs allows."""
    return ApiError(503, "Service Unavailable", BUSY)


def router_error(status: int, detail: str, allow: str | None = None) -> Response:
    """404 and 405 of the router, which have another shape."""
    headers = (("allow", allow),) if allow else ()
    return Response(status, orjson.dumps({"detail": detail}), JSON, headers)


def unauthorized() -> Response:
    """No key, or a wrong one. Made outside vLLM's CORS layer, so without ``vary``."""
    return Response(401, b'{"error":"Unauthorized"}', JSON, vary=False)
