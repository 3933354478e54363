"""A streamed chat through the gateway, printed as its tokens arrive."""

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from gateway.terminal.failures import Failure

TIMEOUT_S = 60.0
_DATA = b"data: "
_DONE = b"[DONE]"


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was seen of one streamed answer."""

    pieces: int
    first_after_s: float
    took_s: float
    served_by: str


async def stream_chat(
    base_url: str, model: str, question: str, max_tokens: int, show: Callable[[str], None]
) -> Answer:
    """Ask, hand each piece of text to `show` as it arrives, and tell how it went.

    Raises:
        Failure: the gateway refused, or the stream broke.
    """
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": question}],
    }
    began = time.monotonic()
    first = None
    pieces = 0
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=TIMEOUT_S)) as session,
            session.post(f"{base_url}/chat/completions", json=body) as response,
        ):
            if response.status != 200:  # noqa: PLR2004  (RFC 9110)
                raise Failure(f"The first answer failed: HTTP {response.status} {await response.text()}")
            async for text in _texts(response.content):
                first = first or time.monotonic()
                pieces += 1
                show(text)
            served_by = response.headers.get("x-served-by", "")
    except (ClientError, TimeoutError, msgspec.DecodeError) as error:
        raise Failure(f"The first answer broke off: {error or type(error).__name__}.") from None
    ended = time.monotonic()
    return Answer(pieces, (first or ended) - began, ended - began, served_by)


async def _texts(lines: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """The text of each event of a chat stream."""
    async for line in lines:
        data = line.removeprefix(_DATA).strip()
        if not line.startswith(_DATA) or data == _DONE:
            continue
        for choice in msgspec.json.decode(data, type=_Chunk).choices:
            if choice.delta.content:
                yield choice.delta.content
