"""A request of one token, to find out whether a hung engine works again.

A replica that was ejected as hung gets no requests, so nothing that clients send can show that it is well.
One token that the gateway itself asks for can, and costs no client anything.
"""

import asyncio
from enum import Enum, auto

import aiohttp

from gateway.control.probes import Target

_PROBES = (
    ("/v1/completions", {"prompt": "a", "max_tokens": 1}),
    ("/v1/embeddings", {"input": "a"}),
    ("/pooling", {"input": "a"}),
)
_NO_SUCH_ROUTE = frozenset({404, 405})
_SERVER_ERROR = 500


class Canary(Enum):
    """What one token told."""

    ALIVE = auto()
    SILENT = auto()
    CANNOT_TELL = auto()
    """The server answers none of our questions (it transcribes audio, say), so no answer means nothing."""


async def ask(session: aiohttp.ClientSession, target: Target, model: str, timeout_s: float) -> Canary:
    """Make the engine work once. Which route depends on the kind of model; the first that exists decides."""
    headers = {} if target.authorization is None else {"Authorization": target.authorization}
    try:
        async with asyncio.timeout(timeout_s):
            for path, body in _PROBES:
                async with session.post(
                    target.url + path, json={"model": model, **body}, headers=headers
                ) as response:
                    await response.read()
                if response.status in _NO_SUCH_ROUTE:
                    continue
                if response.status >= _SERVER_ERROR:
                    return Canary.SILENT
                return Canary.ALIVE if response.ok else Canary.CANNOT_TELL
    except (aiohttp.ClientError, OSError):
        return Canary.SILENT
    return Canary.CANNOT_TELL
