"""Replicas that stand in for vLLM, and what is asked of them."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Self

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)


def chat(text: str = "hi", *, model: str = "chat", **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def completion(prompt: str = "hi", *, model: str = "chat", **more: Any) -> dict[str, Any]:
    """The body of a completions request."""
    return {"model": model, "prompt": prompt, **more}


def sim(model: str = "chat", **options: Any) -> SimulatedReplica:
    """A replica whose engine takes no time."""
    return SimulatedReplica(SimOptions(model, **{"engine": FAST, **options}))


class Tap:
    """Stands between the gateway and a replica and keeps every byte that passes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent = bytearray()
        self.answered = bytearray()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for source, target, kept in ((reader, back, self.sent), (there, writer, self.answered)):
            task = asyncio.ensure_future(_copy(source, target, kept))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray) -> None:
    try:
        while data := await source.read(1 << 16):
            kept += data
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


Script = Callable[["Scripted", asyncio.StreamReader, asyncio.StreamWriter], Any]


class Scripted:
    """A replica whose every connection is handled by `script`; closes what the script leaves open."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.connections = 0
        self.requests: list[bytes] = []
        self.written = 0
        """For scripts that write much: how much they got rid of."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._script(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer or the test has had enough
        finally:
            self._tasks.discard(task)
            writer.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request whose length is declared; kept in `requests`."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        message = head + await reader.readexactly(length)
        self.requests.append(message)
        return message


def scripted(*answers: bytes, hold: bool = False) -> Scripted:
    """A replica that answers each connection's requests with `answers`, the n-th with the n-th, then closes.

    With `hold`, the connection stays open after the last answer until the peer closes it.
    """

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await replica.request(reader)
            writer.write(answer)
            await writer.drain()
        if hold:
            await reader.read()

    return Scripted(script)


def unused_url() -> str:
    """A URL where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
