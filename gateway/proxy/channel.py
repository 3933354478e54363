"""The socket pair between the control process and one worker: length-prefixed JSON messages.

Control sends `Boot` once, then a `Picture` whenever the fleet changes, and `Stop` at the end. A worker
answers `Ready`, and from then on tells what it sees: evidence about replicas, and notable events.
"""

import asyncio
import socket
from typing import Self

import msgspec

from gateway.fleet.snapshot import Snapshot
from gateway.proxy.settings import Settings

_LENGTH = 4


class Boot(msgspec.Struct, frozen=True, kw_only=True, tag="boot"):
    """Who the worker is, and the descriptors it inherited."""

    worker: int
    workers: int
    pools: int
    replicas: int
    scoreboard_fd: int
    listen_fds: tuple[int, ...]
    settings: Settings


class Picture(msgspec.Struct, frozen=True, kw_only=True, tag="picture"):
    """The next snapshot."""

    snapshot: Snapshot


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Accept nothing more, let what runs finish for at most `grace_s` seconds, then end."""

    grace_s: float


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The worker accepts connections."""

    pid: int


class Suspect(msgspec.Struct, frozen=True, kw_only=True, tag="suspect"):
    """A replica failed a request in a way that a probe should look into now."""

    pool: str
    replica: str
    reason: str


class Event(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """Something an operator may want to see on the status page. `time` is seconds since the epoch."""

    time: float
    kind: str
    model: str
    replica: str
    message: str


ToWorker = Boot | Picture | Stop
ToControl = Ready | Suspect | Event


class Channel:
    """One end of the pair. Sending never blocks: what the other end does not read is buffered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        """Take over one end of a `socket.socketpair()`."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=64 << 20)
        return cls(reader, writer)

    def send(self, message: ToWorker | ToControl) -> None:
        """Queue a message; a peer that is gone is noticed by whoever reads."""
        body = msgspec.json.encode(message)
        self._writer.write(len(body).to_bytes(_LENGTH, "big") + body)

    async def _receive(self) -> bytes | None:
        """The next message, undecoded, or None when the other end is gone."""
        try:
            length = await self._reader.readexactly(_LENGTH)
            body = await self._reader.readexactly(int.from_bytes(length, "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return body

    async def from_control(self) -> ToWorker | None:
        """In a worker: what control says next; None when control is gone."""
        body = await self._receive()
        return None if body is None else msgspec.json.decode(body, type=ToWorker)

    async def from_worker(self) -> ToControl | None:
        """In control: what the worker says next; None when the worker is gone."""
        body = await self._receive()
        return None if body is None else msgspec.json.decode(body, type=ToControl)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
