"""Asking launched servers whether they are there: until the first answer, and whether they still are."""

import asyncio
import time
from enum import Enum

import aiohttp

LOOK_S = 0.5
"""Between two looks at a server that starts."""
WATCH_S = 2.0
"""Between two looks at a server that runs."""
TIMEOUT_S = 10.0
"""A saturated vLLM answers late; late is not dead."""
DEAD_S = 20.0
"""How long an API server may say that its engine is dead, or refuse, until it is ended. By itself it ends
within 4 s of its engine's death; older versions, and VLLM_KEEP_ALIVE_ON_ENGINE_DEATH=1, never do
(vllm#43060).
"""

_FIRST_ERROR = 500


class Sign(Enum):
    """What one `GET /health` tells."""

    WELL = "well"
    DEAD = "dead"
    """It refuses, or says 5xx: not a question of load."""
    UNCLEAR = "unclear"


async def look(session: aiohttp.ClientSession, url: str, timeout_s: float = TIMEOUT_S) -> Sign:
    """Ask once."""
    try:
        async with session.get(f"{url}/health", timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            return Sign.DEAD if response.status >= _FIRST_ERROR else Sign.WELL
    except aiohttp.ClientConnectorError:
        return Sign.DEAD
    except (TimeoutError, aiohttp.ClientError):
        return Sign.UNCLEAR


async def first_answer(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until it answers."""
    while await look(session, url) is not Sign.WELL:  # noqa: ASYNC110  (another process tells no event)
        await asyncio.sleep(LOOK_S)


async def lasting_silence(
    session: aiohttp.ClientSession, url: str, dead_s: float = DEAD_S, watch_s: float = WATCH_S
) -> None:
    """Wait until it has been dead for `dead_s` seconds without a sign of life."""
    dead_since: float | None = None
    while dead_since is None or time.monotonic() - dead_since < dead_s:
        await asyncio.sleep(watch_s)
        sign = await look(session, url)
        if sign is not Sign.DEAD:
            dead_since = None
        elif dead_since is None:
            dead_since = time.monotonic()
