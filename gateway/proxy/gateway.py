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
from gateway.proxy.errors import ClientGone, GatewayError, InternalError, ModelNotFound
from gateway.proxy.front import AlreadySent, ClientConnection
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.identity import ClientKeys, RequestIds
from gateway.proxy.intake import Asked, Intake
from gateway.proxy.job import Job
from gateway.proxy.live import LiveFleet
from gateway.proxy.resume.memory import ResumeMemory
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
        memory = ResumeMemory(settings.resume_stream_bytes, settings.resume_worker_bytes, meter)
        self._intake = Intake(fleet, memory)
        self._reusable = AlreadySent(keep_alive=True)
        self._spent = AlreadySent(keep_alive=False)
        self.draining = False
        self.running = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens. aiohttp calls this in a task of its own."""
        client = cast("ClientConnection", request.protocol)
        headers = RequestHeaders(request.raw_headers)
        record = RequestRecord(
            self._ids.take(headers.text(b"x-request-id")),
            client.address,
            request.method,
            request.raw_path.partition("?")[0],
            time.monotonic(),
        )
        answer = Answer(client, http_1_0=request.version < HttpVersion11)
        self._started()
        self.quiet.clear()
        try:
            route = self._routes.find(record.method, record.path)
            if route.kind is not Kind.HEALTH:
                self._keys.check(headers)
            if route.kind is Kind.INFERENCE:
                body = Body(request.content, client, self._settings)
                body.accept(headers, may_wait=request.version >= HttpVersion11)
                asked = await self._intake.read(route, headers, body)
                await self._dispatcher.run(
                    self._job(asked, headers, answer, record, route, client, request.raw_path)
                )
            else:
                self._answer_here(request, answer, record, route)
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
            self._conclude(answer, record)
        reusable = request.keep_alive and answer.keeps_connection and request.content.is_eof()
        return self._reusable if reusable and not self.draining else self._spent

    def _job(
        self,
        asked: Asked,
        headers: RequestHeaders,
        answer: Answer,
        record: RequestRecord,
        route: Route,
        client: ClientConnection,
        target: str,
    ) -> Job:
        record.model = asked.model.name
        record.pool = asked.pool.view.name
        if asked.model.parent is not None:
            record.adapter = asked.model.upstream
        record.request_bytes = len(asked.body)
        authorization = headers.get(b"authorization") if self._settings.forward_authorization else None
        return Job(
            client,
            answer,
            record,
            route,
            target.encode("latin-1"),
            headers.forwarded,
            b"" if authorization is None else b"authorization: %b\r\n" % authorization,
            _id_line(record),
            asked.pool,
            asked.model,
            asked.body,
            asked.priority,
            asked.upload,
            asked.tape,
        )

    # -- answers that need no replica --

    def _answer_here(
        self, request: web.BaseRequest, answer: Answer, record: RequestRecord, route: Route
    ) -> None:
        names = self._fleet.snapshot.names
        now = int(time.time())
        status = 200
        content: object
        if route.kind is Kind.HEALTH:
            ready = not self.draining and any(name.listed for name in names.values())
            status = 200 if ready else 503
            content = {"status": "ok" if ready else "draining" if self.draining else "no replica is up"}
        elif route.kind is Kind.MODELS:
            cards = [messages.model_card(name, now) for name in names.values() if name.listed]
            content = {"object": "list", "data": cards}
        else:
            wanted = request.rel_url.path.removeprefix("/v1/models/")
            found = names.get(wanted)
            if found is None or not found.listed:
                raise ModelNotFound(f"The model `{wanted[:256]}` does not exist.", param="model")
            content = messages.model_card(found, now)
        close = not request.keep_alive or self.draining
        head_only = request.method == "HEAD"
        body = orjson.dumps(content)
        answer.whole(
            messages.json_message(status, body, _id_line(record), close=close, head_only=head_only), status
        )

    # -- the beginning and the end of every request --

    def _started(self) -> None:
        self.running += 1
        self.quiet.clear()

    def _refuse(
        self, request: web.BaseRequest, answer: Answer, record: RequestRecord, error: GatewayError
    ) -> None:
        record.error = error.message
        if isinstance(error, ClientGone):
            record.outcome = "client_gone"
        elif answer.begun:
            record.outcome = "broken"
            answer.break_off()
        else:
            record.outcome = "error"
            # The rest of an unread body would be taken for the next request.
            close = not request.keep_alive or self.draining or not request.content.is_eof()
            head_only = request.method == "HEAD"
            message = messages.error_message(error, _id_line(record), close=close, head_only=head_only)
            answer.whole(message, error.status)

    def _conclude(self, answer: Answer, record: RequestRecord) -> None:
        self.running -= 1
        if not self.running:
            self.quiet.set()
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


def _id_line(record: RequestRecord) -> bytes:
    return b"x-request-id: %b\r\n" % record.request_id.encode("ascii")
