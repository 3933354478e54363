"""The admin listener's life: an aiohttp application, the sampling beside it, and the socket it is given."""

import asyncio
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.control.admin.api import AdminApi
from gateway.control.admin.guard import Access, guard, keep_browsers_careful
from gateway.control.admin.page import Page
from gateway.control.admin.source import Source
from gateway.telemetry.summaries import SAMPLE_INTERVAL_S

LARGEST_BODY_BYTES = 64 << 10


def make_app(source: Source, access: Access) -> web.Application:
    """The admin application, not yet listening."""
    api = AdminApi(source, Page.load())
    app = web.Application(middlewares=[guard(access)], client_max_size=LARGEST_BODY_BYTES)
    app.add_routes(api.routes())
    app.on_response_prepare.append(keep_browsers_careful)
    app.on_shutdown.append(api.end_streams)

    async def sampling(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_sample_for_ever(api), name="admin-sampling")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    app.cleanup_ctx.append(sampling)
    return app


async def start(source: Source, access: Access, listening: socket.socket) -> web.AppRunner:
    """Serve on a socket that is bound already; `await runner.cleanup()` ends it."""
    runner = web.AppRunner(make_app(source, access), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner


async def _sample_for_ever(api: AdminApi) -> None:
    while True:
        api.sample()
        await asyncio.sleep(SAMPLE_INTERVAL_S)
