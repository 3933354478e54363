"""The routes of the admin listener."""

import asyncio
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway.config.addresses import parse_replica_url
from gateway.config.errors import Invalid
from gateway.control.admin.answers import answer, failure
from gateway.control.admin.page import Page
from gateway.control.admin.report import Clocks, build
from gateway.control.admin.source import ReloadRefused, Source, UnknownReplica
from gateway.control.admin.targets import targets
from gateway.telemetry.exposition import render, slots_used
from gateway.telemetry.summaries import History
from gateway.telemetry.sums import read

BODY_TIMEOUT_S = 10.0


class ReplicaRequest(msgspec.Struct, frozen=True):
    """Body of drain and undrain."""

    replica: str


class AdminApi:
    """Answers from the control plane's current state; owns only the samples for the last minutes' figures."""

    def __init__(self, source: Source, page: Page) -> None:
        self._source = source
        self._page = page
        self._history = History()

    def routes(self) -> list[web.RouteDef]:
        """All routes, for `Application.add_routes`."""
        return [
            web.get("/", self.page),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.healthz),
            web.get("/api/status", self.status),
            web.get("/api/targets", self.targets),
            web.post("/api/replicas/drain", self.drain),
            web.post("/api/replicas/undrain", self.undrain),
            web.post("/api/reload", self.reload),
        ]

    def sample(self) -> None:
        """Remember what has been counted so far; called every few seconds."""
        pools = tuple(self._source.snapshot.pools.values())
        pool_slots, _ = slots_used(pools)
        self._history.record(time.monotonic(), pools, read(self._source.board, pool_slots, 0))

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
        return answer(build(self._source, self._history, Clocks(time.time(), time.monotonic())))

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
