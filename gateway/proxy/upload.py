"""A body that goes through while it arrives: file uploads, which nobody wants in memory."""

import asyncio
from collections.abc import AsyncIterator

from gateway.proxy.upstream.connection import Connection


class Upload:
    """The rest of a body whose beginning was read to find the model.

    `length` is what is still to come, None when the client sends chunks. Once `pump` has taken a piece, the
    request can't be repeated: `started` says so.
    """

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None) -> None:
        self._pieces = pieces
        self._length = length
        self._writable = asyncio.Event()
        self._writable.set()
        self.started = False

    def framing(self, beginning: int) -> bytes:
        """The header line for a body whose first `beginning` bytes are written with the head."""
        if self._length is None:
            return b"transfer-encoding: chunked\r\n"
        return b"content-length: %d\r\n" % (beginning + self._length)

    def frame(self, piece: bytes) -> bytes:
        """A piece as it is written."""
        return piece if self._length is not None else b"%x\r\n%b\r\n" % (len(piece), piece)

    async def pump(self, connection: Connection) -> int:
        """Write the rest, as fast as the replica takes it; returns its size. Raises as `Body.pieces` does."""
        self.started = True
        size = 0
        async for piece in self._pieces:
            await self._writable.wait()
            size += len(piece)
            connection.more(self.frame(piece))
        connection.more(b"0\r\n\r\n" if self._length is None else b"", finished=True)
        return size

    def pause(self) -> None:
        """The replica takes no more for now."""
        self._writable.clear()

    def resume(self) -> None:
        """It does again."""
        self._writable.set()
