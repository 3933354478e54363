"""How the admin listener answers: JSON, and errors in the shape of the public listener."""

from collections.abc import Mapping

import msgspec
from aiohttp import web


def answer(document: object, headers: Mapping[str, str] | None = None, status: int = 200) -> web.Response:
    """A JSON answer from plain data or a `msgspec.Struct`."""
    body = msgspec.json.encode(document)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error answer: `{"error": {"message", "code"}}` with one sentence."""
    return answer({"error": {"message": message, "code": status}}, headers, status)
