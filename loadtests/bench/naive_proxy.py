"""The reverse proxy most people would write first: aiohttp on both sides. A point of reference for Python.

    python naive_proxy.py PORT REPLICA_URL...

It runs in a virtual environment of its own, with aiohttp and uvloop, and imports nothing of this repository.
"""

import itertools
import sys
from collections.abc import AsyncIterator, Mapping

import aiohttp
import uvloop
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
NOT_FORWARDED = frozenset(
    ("connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length")
)


def forwarded(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The end-to-end headers."""
    return [(name, value) for name, value in headers.items() if name.lower() not in NOT_FORWARDED]


def application(replicas: list[str]) -> web.Application:
    """A proxy that deals requests out in turn."""
    turn = itertools.cycle(replicas)

    async def session(app: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as client:
            app[SESSION] = client
            yield

    async def relay(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        url = next(turn) + request.path_qs
        client = request.app[SESSION]
        async with client.request(
            request.method, url, headers=forwarded(request.headers), data=body
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=forwarded(answer.headers))
            response.content_length = answer.content_length
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=64 << 20)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", relay)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    port, *replicas = sys.argv[1:]
    web.run_app(
        application(replicas),
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        backlog=4096,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
