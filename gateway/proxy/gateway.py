"""The data plane put together: a request comes in, an answer leaves, and one record is made of it."""

import asyncio
import logging
import time
from collections.abc import Callable

import orjson
from aiohttp import HttpVersion11, web

from gateway.proxy import messages
from gateway.proxy.answer import Answer
from gateway.proxy.body import Body
from gateway.proxy.dispatch import Dispatcher
from gateway.proxy.errors import ClientGone, GatewayError, InternalError, ModelNotFound
from gateway.proxy.front import AlreadySent, Incoming
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.identity import ClientKeys, RequestIds
from gateway.proxy.intake import Intake
from gateway.proxy.job import Job
from gateway.proxy.live import LiveFleet
from gateway.proxy.resume.memory import ResumeMemory
from gateway.proxy.routes import Kind, Routes
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

    async def handle(self, request: Incoming) -> web.StreamResponse:
        """Answer one request, whatever happens. aiohttp calls this in a task of its own."""
        message = request.head
        headers = RequestHeaders(message.raw_headers)
        answer = Answer(request.client, http_1_0=message.version < HttpVersion11)
        request_id = self._ids.take(headers.get(b"x-request-id"))
        job = Job(request.client, answer, headers, request_id, message.path)
        job.method = message.method
        self.running += 1
        try:
            job.route = self._routes.find(job.method, job.path)
            if self._keys.wanted and job.route.kind is not Kind.HEALTH:
                self._keys.check(headers)
            if job.route.kind is Kind.INFERENCE:
                body = Body(request.payload, request.client, self._settings)
                body.accept(headers, may_wait=message.version >= HttpVersion11)
                data = None if _is_form(headers) else body.read_now()
                if data is None:
                    await self._intake.read(job, body)
                else:
                    self._intake.take(job, data)
                if self._settings.forward_authorization:
                    job.authorization = _authorization_line(headers)
                await self._dispatcher.run(job)
            else:
                self._answer_here(request, job)
        except GatewayError as error:
            self._refuse(request, job, error)
        except asyncio.CancelledError:
            job.outcome = "client_gone"
            raise
        except Exception:
            # The task root: a bug in here costs this request, and must not cost the connection's others.
            logger.exception("request %s failed", job.request_id)
            self._refuse(request, job, InternalError("The gateway failed on this request."))
        finally:
            self._conclude(job)
        reusable = answer.keeps_connection and not message.should_close and request.payload.is_eof()
        return self._reusable if reusable and not self.draining else self._spent

    # -- answers that need no replica --

    def _answer_here(self, request: Incoming, job: Job) -> None:
        names = self._fleet.snapshot.names
        now = int(time.time())
        status = 200
        content: object
        if job.route.kind is Kind.HEALTH:
            ready = not self.draining and any(name.listed for name in names.values())
            status = 200 if ready else 503
            content = {"status": "ok" if ready else "draining" if self.draining else "no replica is up"}
        elif job.route.kind is Kind.MODELS:
            cards = [messages.model_card(name, now) for name in names.values() if name.listed]
            content = {"object": "list", "data": cards}
        else:
            wanted = request.rel_url.path.removeprefix("/v1/models/")
            found = names.get(wanted)
            if found is None or not found.listed:
                raise ModelNotFound(f"The model `{wanted[:256]}` does not exist.", param="model")
            content = messages.model_card(found, now)
        close = not request.keep_alive or self.draining
        head_only = job.method == "HEAD"
        body = orjson.dumps(content)
        message = messages.json_message(status, body, job.id_line, close=close, head_only=head_only)
        job.answer.whole(message, status)

    # -- the end of every request --

    def _refuse(self, request: Incoming, job: Job, error: GatewayError) -> None:
        job.error = error.message
        if isinstance(error, ClientGone):
            job.outcome = "client_gone"
        elif job.answer.begun:
            job.outcome = "broken"
            job.answer.break_off()
        else:
            job.outcome = "error"
            # The rest of an unread body would be taken for the next request.
            close = not request.keep_alive or self.draining or not request.content.is_eof()
            head_only = job.method == "HEAD"
            message = messages.error_message(error, job.id_line, close=close, head_only=head_only)
            job.answer.whole(message, error.status)

    def _conclude(self, job: Job) -> None:
        self.running -= 1
        if self.draining and not self.running:
            self.quiet.set()
        answer = job.answer
        job.ended_at = time.monotonic()
        job.response_bytes = answer.body_bytes
        gone = job.outcome == "client_gone"
        job.status = answer.status if answer.begun or not gone else ClientGone.status
        if job.model:
            job.pool.meter.finished(job, gone=gone)
        else:
            self._meter.unrouted(job.status)
        self._observer(job)

    def drain(self) -> None:
        """Keep no connection and call the gateway unready; `quiet` is set once nothing runs any more."""
        self.draining = True
        if not self.running:
            self.quiet.set()


def _is_form(headers: RequestHeaders) -> bool:
    content_type = headers.get(b"content-type")
    return content_type is not None and content_type[:19].lower() == b"multipart/form-data"


def _authorization_line(headers: RequestHeaders) -> bytes:
    value = headers.get(b"authorization")
    return b"" if value is None else b"authorization: %b\r\n" % value
