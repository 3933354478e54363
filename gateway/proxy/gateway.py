"""The data plane put together: a request comes in, an answer leaves, and one record is made of it."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import cast

import orjson
from aiohttp import HttpVersion11, web

from gateway.proxy import messages
from gateway.proxy.answer import Answer
from gateway.proxy.body import Body
from gateway.proxy.dispatch import Dispatcher
from gateway.proxy.errors import BadRequest, ClientGone, GatewayError, InternalError, ModelNotFound
from gateway.proxy.front import AlreadySent, ClientConnection
from gateway.proxy.headers import common_headers
from gateway.proxy.identity import ClientKeys, RequestIds
from gateway.proxy.intake import Intake
from gateway.proxy.job import Job
from gateway.proxy.live import LiveFleet
from gateway.proxy.routes import Kind, Route, Routes
from gateway.proxy.settings import Settings
from gateway.telemetry.meters import WorkerMeter
from gateway.telemetry.record import RequestRecord

logger = logging.getLogger(__name__)

Observer = Callable[[RequestRecord], None]


class Gateway:
    """Handles the requests of one worker."""

    def __init__(
        self,
        settings: Settings,
        fleet: LiveFleet,
        dispatcher: Dispatcher,
        meter: WorkerMeter,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._meter = meter
        self._observer = observer
        self._routes = Routes(settings.extra_routes)
        self._ids = RequestIds()
        self._keys = ClientKeys(settings.client_keys)
        self._intake = Intake(fleet)
        self._reusable = AlreadySent(keep_alive=True)
        self._spent = AlreadySent(keep_alive=False)
        self.draining = False
        self.running = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens. aiohttp calls this in a task of its own."""
        client = cast("ClientConnection", request.protocol)
        path = request.raw_path.partition("?")[0]
        record = RequestRecord(
            request_id=self._ids.take(request.headers.get("x-request-id")),
            client=_address(client),
            method=request.method,
            path=path,
            received_at=time.monotonic(),
        )
        answer = Answer(client, http_1_0=request.version < HttpVersion11)
        self._started()
        try:
            await self._answer(request, client, answer, record)
        except GatewayError as error:
            self._refuse(request, answer, record, error)
        except asyncio.CancelledError:
            record.outcome = "client_gone"
            raise
        except Exception:
            # The task root: a bug in here costs this request, and must not cost the connection's others.
            logger.exception("request %s failed", record.request_id)
            self._refuse(request, answer, record, InternalError("The gateway failed on this request."))
        finally:
            self._ended()
            self._conclude(answer, record)
        reusable = (
            request.keep_alive and answer.keeps_connection and request.content.is_eof() and not self.draining
        )
        return self._reusable if reusable else self._spent

    async def _answer(
        self, request: web.BaseRequest, client: ClientConnection, answer: Answer, record: RequestRecord
    ) -> None:
        if request.version == HttpVersion11 and "host" not in request.headers:
            raise BadRequest("A request without a Host header is not valid HTTP/1.1.")
        route = self._routes.find(request.method, record.path)
        if route.kind is Kind.HEALTH:
            self._health(request, answer, record)
            return
        self._keys.check(request.headers.get("authorization"), request.headers.get("x-api-key"))
        if route.kind is Kind.INFERENCE:
            body = Body(request, client, self._settings)
            body.accept()
            await self._infer(request, client, answer, record, route, body)
        else:
            self._models(request, answer, record, route)

    async def _infer(
        self,
        request: web.BaseRequest,
        client: ClientConnection,
        answer: Answer,
        record: RequestRecord,
        route: Route,
        body: Body,
    ) -> None:
        asked = await self._intake.read(request, body)
        record.model = asked.model.name
        record.pool = asked.pool.view.name
        record.adapter = asked.model.upstream if asked.model.parent else ""
        record.request_bytes = len(asked.body)
        authorization = request.headers.get("authorization") if self._settings.forward_authorization else None
        await self._dispatcher.run(
            Job(
                client=client,
                answer=answer,
                record=record,
                route=route,
                target=request.raw_path.encode("latin-1"),
                headers=common_headers(request.raw_headers, record.request_id),
                authorization=b""
                if authorization is None
                else b"authorization: %b\r\n" % authorization.encode(),
                pool=asked.pool,
                model=asked.model,
                body=asked.body,
                priority=asked.priority,
                upload=asked.upload,
            )
        )

    # -- answers that need no replica --

    def _health(self, request: web.BaseRequest, answer: Answer, record: RequestRecord) -> None:
        ready = not self.draining and any(name.listed for name in self._fleet.snapshot.names.values())
        status = "ok" if ready else "draining" if self.draining else "no replica is up"
        self._send_json(request, answer, record, 200 if ready else 503, {"status": status})

    def _models(self, request: web.BaseRequest, answer: Answer, record: RequestRecord, route: Route) -> None:
        now = int(time.time())
        names = self._fleet.snapshot.names
        if route.kind is Kind.MODELS:
            cards = [messages.model_card(name, now) for name in names.values() if name.listed]
            self._send_json(request, answer, record, 200, {"object": "list", "data": cards})
            return
        wanted = request.rel_url.path.removeprefix("/v1/models/")
        found = names.get(wanted)
        if found is None or not found.listed:
            raise ModelNotFound(f"The model `{wanted[:256]}` does not exist.", param="model")
        self._send_json(request, answer, record, 200, messages.model_card(found, now))

    def _send_json(
        self, request: web.BaseRequest, answer: Answer, record: RequestRecord, status: int, content: object
    ) -> None:
        added = b"x-request-id: " + record.request_id.encode("ascii") + b"\r\n"
        close = not request.keep_alive or self.draining
        head_only = request.method == "HEAD"
        message = messages.json_message(
            status, orjson.dumps(content), added, close=close, head_only=head_only
        )
        answer.whole(message, status)

    # -- the end of every request --

    def _started(self) -> None:
        self.running += 1
        self.quiet.clear()

    def _ended(self) -> None:
        self.running -= 1
        if not self.running:
            self.quiet.set()

    def _refuse(
        self, request: web.BaseRequest, answer: Answer, record: RequestRecord, error: GatewayError
    ) -> None:
        record.error = error.message
        if isinstance(error, ClientGone):
            record.outcome = "client_gone"
            return
        record.outcome = "broken" if answer.begun else "error"
        if answer.begun:
            answer.break_off()
            return
        # The rest of an unread body would be taken for the next request.
        close = not request.keep_alive or self.draining or not request.content.is_eof()
        added = b"x-request-id: " + record.request_id.encode("ascii") + b"\r\n"
        head_only = request.method == "HEAD"
        answer.whole(messages.error_message(error, added, close=close, head_only=head_only), error.status)

    def _conclude(self, answer: Answer, record: RequestRecord) -> None:
        record.ended_at = time.monotonic()
        record.response_bytes = answer.body_bytes
        gone = record.outcome == "client_gone"
        record.status = answer.status if answer.begun or not gone else ClientGone.status
        pool = self._fleet.pools.get(record.pool)
        if pool is None:
            self._meter.unrouted(record.status)
        else:
            pool.meter.finished(record, gone=gone)
        self._observer(record)


def _address(client: ClientConnection) -> str:
    peer = client.peername
    return peer[0] if isinstance(peer, tuple) else str(peer or "")
