"""A writer that cuts everything into small TCP sends, for receivers that must not count on framing."""

import asyncio
from collections import deque


class PieceWriter:
    """Stands in for a transport: one piece per turn of the event loop, or per pause."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, size: int, delay_s: float
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._size = size
        self._delay_s = delay_s
        self._pieces: deque[bytes] = deque()
        self._running = False
        self._closing = False

    @property
    def is_busy(self) -> bool:
        return self._running

    def write(self, data: bytes) -> None:
        self._pieces.extend(data[at : at + self._size] for at in range(0, len(data), self._size))
        if not self._running:
            self._running = True
            self._send_next()

    def close(self) -> None:
        """Close the connection once every piece has left."""
        self._closing = True
        if not self._running:
            self._transport.close()

    def _send_next(self) -> None:
        if self._transport.is_closing():
            self._pieces.clear()
        if not self._pieces:
            self._running = False
            if self._closing:
                self._transport.close()
            return
        self._transport.write(self._pieces.popleft())
        if self._delay_s:
            self._loop.call_later(self._delay_s, self._send_next)
        else:
            self._loop.call_soon(self._send_next)
