"""The status page's stream: server-sent events (WHATWG HTML, 9.2), the newest document for whoever watches.

Each watcher gets at its own pace what is newest when it has taken what came before; nothing is queued for
it. `status` events carry the document of `GET /api/status`, `history` events the points of
`GET /api/history` that came since the last one; the first of both comes at once.
"""

import asyncio
from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway.control.admin.charts import Charts
from gateway.control.admin.status import Status

TICK_S = 1.0


class Feed:
    """Streams to all watchers; `status` makes the document of this moment."""

    def __init__(self, status: Callable[[], Status], charts: Charts) -> None:
        self._status = status
        self._charts = charts
        self._over = asyncio.Event()
        self._made_at = float("-inf")
        self._made = b""

    def close(self) -> None:
        """End all streams: the listener is about to close."""
        self._over.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Stream until the watcher leaves or the listener closes."""
        # The second is for an nginx in front, which would hold events back.
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        last = 0.0
        try:
            while not self._over.is_set():
                if fresh := self._charts.since(last):
                    last = max(pool.time[-1] for pool in fresh)
                    await response.write(_event("history", msgspec.json.encode(fresh)))
                await response.write(self._status_event())
                await self._tick()
        except ConnectionResetError:
            pass  # the watcher has left
        return response

    def _status_event(self) -> bytes:
        """The newest document, made once a tick for all watchers."""
        now = asyncio.get_running_loop().time()
        if now - self._made_at >= TICK_S / 2:
            self._made = _event("status", msgspec.json.encode(self._status()))
            self._made_at = now
        return self._made

    async def _tick(self) -> None:
        try:
            async with asyncio.timeout(TICK_S):
                await self._over.wait()
        except TimeoutError:
            pass


def _event(name: str, document: bytes) -> bytes:
    # JSON has no line breaks outside its strings and msgspec writes none between: one data line is enough.
    return b"event: %b\ndata: %b\n\n" % (name.encode(), document)
