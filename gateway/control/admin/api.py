"""The routes of the admin listener."""

import asyncio
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway.config.addresses import parse_replica_url
from gateway.config.errors import Invalid
from gateway.control.admin.answers import answer, failure
from gateway.control.admin.charts import Charts
from gateway.control.admin.feed import Feed
from gateway.control.admin.page import Page
from gateway.control.admin.report import Clocks, build
from gateway.control.admin.source import ReloadRefused, Source, UnknownReplica
from gateway.control.admin.status import Status
from gateway.control.admin.targets import targets
from gateway.telemetry.exposition import render

BODY_TIMEOUT_S = 10.0


class ReplicaRequest(msgspec.Struct, frozen=True):
    """Body of drain and undrain."""

    replica: str


class AdminApi:
    """Answers from the control plane's current state; owns only what the figures of the last minutes need."""

    def __init__(self, source: Source, page: Page) -> None:
        self._source = source
        self._page = page
        self._charts = Charts()
        self._feed = Feed(self._document, self._charts)
        self._started = time.time()

    def routes(self) -> list[web.RouteDef]:
        """All routes, for `Application.add_routes`."""
        return [
            web.get("/", self.page),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.healthz),
            web.get("/api/status", self.status),
            web.get("/api/history", self.history),
            web.get("/api/events", self.events),
            web.get("/api/targets", self.targets),
            web.post("/api/replicas/drain", self.drain),
            web.post("/api/replicas/undrain", self.undrain),
            web.post("/api/reload", self.reload),
        ]

    def sample(self) -> None:
        """Remember what has been counted so far; called every few seconds."""
        self._charts.sample(self._source, _clocks())

    async def end_streams(self, _app: web.Application) -> None:
        """Let watchers go, who would else hold up the end (an `on_shutdown` signal)."""
        self._feed.close()

    async def page(self, _request: web.Request) -> web.Response:
        return self._page.response()

    async def metrics(self, request: web.Request) -> web.Response:
        board, facts = self._source.board, self._source.facts()
        accept = request.headers.get("Accept", "")
        # In a thread: a large fleet's text takes tens of ms, in which probes and workers would wait.
        body, content_type = await asyncio.to_thread(render, board, facts, time.monotonic(), accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(self, _request: web.Request) -> web.Response:
        return answer({"status": "ok"})

    async def status(self, _request: web.Request) -> web.Response:
        return answer(self._document())

    async def history(self, _request: web.Request) -> web.Response:
        return answer(self._charts.since(0))

    async def events(self, request: web.Request) -> web.StreamResponse:
        return await self._feed.serve(request)

    async def targets(self, _request: web.Request) -> web.Response:
        return answer(targets(self._source.snapshot))

    async def drain(self, request: web.Request) -> web.Response:
        return await self._set_draining(request, self._source.drain)

    async def undrain(self, request: web.Request) -> web.Response:
        return await self._set_draining(request, self._source.undrain)

    async def reload(self, _request: web.Request) -> web.Response:
        try:
            await self._source.reload()
        except ReloadRefused as error:
            return failure(409, str(error))
        return answer({"snapshot": self._source.snapshot.number})

    def _document(self) -> Status:
        return build(self._source, self._charts.history, _clocks(), self._started)

    async def _set_draining(self, request: web.Request, change: Callable[[str], None]) -> web.Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                wanted = msgspec.json.decode(await request.read(), type=ReplicaRequest)
            url = parse_replica_url(wanted.replica)
            change(url)
        except TimeoutError:
            return failure(408, "The request's body did not arrive in time.")
        except msgspec.DecodeError as error:
            return failure(400, f'The body must be {{"replica": URL}}: {error}.')
        except Invalid as error:
            return failure(400, f"The replica's URL {error.message} ({error.hint}).")
        except UnknownReplica:
            known = ", ".join(view.url for view in self._source.replicas()) or "none"
            return failure(404, f"No replica has the URL {wanted.replica}; known: {known}.")
        (view,) = [view for view in self._source.replicas() if view.url == url]
        outstanding = 0 if view.slot is None else self._source.board.outstanding(view.slot)
        return answer({"replica": url, "draining": view.draining, "outstanding": outstanding})


def _clocks() -> Clocks:
    return Clocks(time.time(), time.monotonic())
