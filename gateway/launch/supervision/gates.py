"""One start at a time on each device."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable


class StartGates:
    """Whoever starts a server, or ends one that hangs, goes through the gates of its devices.

    A server that starts measures what is free on its device, and takes what a neighbour takes or gives back
    meanwhile for its own (vllm#55827, vllm#56830).
    """

    def __init__(self) -> None:
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    @contextlib.asynccontextmanager
    async def of(self, devices: Iterable[int]) -> AsyncIterator[None]:
        """Have these devices for oneself."""
        async with contextlib.AsyncExitStack() as stack:
            # Always in the same order, so that two never wait for each other.
            for device in sorted(devices):
                await stack.enter_async_context(self._locks[device])
            yield
