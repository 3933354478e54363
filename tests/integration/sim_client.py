"""A byte-level HTTP client for looking at a simulated replica: no library that could smooth things over."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

DEADLINE_S = 10.0


@dataclass
class Reply:
    """An answer as it came over the socket."""

    head: bytes = b""
    chunks: list[bytes] = field(default_factory=list)  # of a chunked body
    body: bytes = b""
    end: str = "complete"  # "eof": the connection closed too early, "reset": it was reset
    raw: bytes = b""  # everything, where the framing broke

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def header_names(self) -> list[str]:
        return [line.split(b":", 1)[0].decode() for line in self.head.split(b"\r\n")[1:]]

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b": ")
            if key.decode() == name:
                return value.decode()
        return None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each event, ``[DONE]`` as text. One event must be exactly one chunk."""
        events: list[Any] = []
        for chunk in self.chunks:
            assert chunk.endswith(b"\n\n"), chunk
            assert chunk.count(b"\n\n") == 1, chunk
            data = chunk.partition(b"data: ")[2].strip().decode()
            events.append(data if data == "[DONE]" else json.loads(data))
        return events

    @property
    def choices(self) -> list[Any]:
        """The choices of all events, one after another."""
        return [choice for event in self.events if "choices" in event for choice in event["choices"]]

    @property
    def text(self) -> str:
        """The text of an OpenAI stream or body, first choice."""
        if not self.chunks:
            choice = self.json["choices"][0]
            return str(choice["text"] if "text" in choice else choice["message"]["content"])
        choices = [choice for choice in self.choices if choice["index"] == 0]
        return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)

    @property
    def token_ids(self) -> list[int]:
        return [token for choice in self.choices for token in choice.get("token_ids") or []]

    @property
    def finish_reason(self) -> str | None:
        return str(self.choices[-1]["finish_reason"]) if self.choices else None


def encode(method: str, path: str, payload: object = None, *, headers: dict[str, str] | None = None) -> bytes:
    """Write a request; a payload that is not bytes is sent as JSON."""
    body = payload if isinstance(payload, bytes) else b"" if payload is None else json.dumps(payload).encode()
    lines = {"host": "replica", **({"content-type": "application/json"} if payload is not None else {})}
    lines |= {"content-length": str(len(body))} if payload is not None else {}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, method: str, path: str, payload: object = None, **headers: str) -> Reply:
        self.send(encode(method, path, payload, headers={k.replace("_", "-"): v for k, v in headers.items()}))
        return await self.reply()

    async def head(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return (await self.reader.readuntil(b"\r\n\r\n"))[:-4]

    async def chunk(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def reply(self) -> Reply:
        """Read one answer, however it ends."""
        reply = Reply()
        try:
            reply.head = await self.head()
            if reply.header("transfer-encoding") == "chunked":
                while chunk := await self.chunk():
                    reply.chunks.append(chunk)
            else:
                async with asyncio.timeout(DEADLINE_S):
                    reply.body = await self.reader.readexactly(int(reply.header("content-length") or 0))
        except asyncio.IncompleteReadError as error:
            reply.end, reply.raw = "eof", error.partial
        except ValueError:
            reply.end = "eof"
        except ConnectionError:
            reply.end = "reset"
        reply.body = reply.body or b"".join(reply.chunks)
        return reply

    async def rest(self) -> bytes:
        """Read until the end of the connection."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()


async def ask(port: int, method: str, path: str, payload: object = None, **headers: str) -> Reply:
    """Ask on a connection of its own."""
    async with await Client.open(port) as client:
        return await client.ask(method, path, payload, **headers)


async def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition that another party makes true."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the replica has no event to wait for
            await asyncio.sleep(0.002)
