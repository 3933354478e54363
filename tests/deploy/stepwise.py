"""A replica that says its next word only when the test tells it to: order is checked without a clock."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

MODEL = "chat"


class Stepwise:
    """One answer at a time. `say` sends a word, `finish` ends the answer as vLLM does."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = asyncio.Queue[web.Request]()
        """Requests whose body has arrived."""
        self.prompt_length = 0
        self.gone = asyncio.Event()
        """Set once the other side closed the connection in the middle of an answer."""
        self._words = asyncio.Queue[bytes]()

    def say(self, word: str) -> None:
        delta = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        self._words.put_nowait(b"data: %b\n\n" % json.dumps(delta).encode())

    def finish(self) -> None:
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        self._words.put_nowait(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(last).encode())

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def models(self, _: web.Request) -> web.Response:
        card = {"id": MODEL, "object": "model", "root": MODEL, "parent": None, "max_model_len": 4096}
        return web.json_response({"object": "list", "data": [card]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.prompt_length = len((await request.json())["messages"][0]["content"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await self.asked.put(request)
        try:
            piece = b""
            while b"[DONE]" not in piece:
                piece = await self._words.get()
                await response.write(piece)
        except asyncio.CancelledError:
            self.gone.set()
            raise
        return response


@asynccontextmanager
async def stepwise() -> AsyncIterator[Stepwise]:
    """The replica while it listens."""
    replica = Stepwise()
    app = web.Application(client_max_size=1 << 26)
    app.add_routes(
        [
            web.get("/health", replica.health),
            web.get("/v1/models", replica.models),
            web.post("/v1/chat/completions", replica.chat),
        ]
    )
    # With handler_cancellation a handler learns that its client has left.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    replica.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield replica
    finally:
        await runner.cleanup()
