"""The data plane put together: a request comes in, an answer leaves, and one record is made of it."""

import asyncio
import logging
import time
from collections.abc import Callable

import orjson
from aiohttp import HttpVersion11
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from gateway.proxy import messages
from gateway.proxy.answer import Answer
from gateway.proxy.body import Body, whole_body
from gateway.proxy.client import ClientConnection
from gateway.proxy.dispatch import Dispatcher
from gateway.proxy.errors import ClientGone, GatewayError, InternalError, ModelNotFound
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
        self.draining = False
        self.running = 0
        self.quiet = asyncio.Event()

    async def handle(self, client: ClientConnection, head: RawRequestMessage, payload: StreamReader) -> bool:
        """Answer one request, whatever happens. True: the client's connection can carry another one."""
        headers = RequestHeaders(head.raw_headers)
        answer = Answer(client, http_1_0=head.version < HttpVersion11)
        request_id = self._ids.take(headers.get(b"x-request-id"))
        job = Job(client, answer, headers, request_id, head.path)
        job.method = head.method
        self.running += 1
        try:
            job.route = self._routes.find(job.method, job.path)
            if self._keys.wanted and job.route.kind is not Kind.HEALTH:
                self._keys.check(headers)
            if job.route.kind is Kind.INFERENCE:
                data = whole_body(headers, payload, self._settings.body_limit_bytes)
                if data is None:
                    body = Body(payload, client, self._settings)
                    body.accept(headers, may_wait=head.version >= HttpVersion11)
                    await self._intake.read(job, body)
                else:
                    self._intake.take(job, data)
                if self._settings.forward_authorization:
                    job.authorization = _authorization_line(headers)
                await self._dispatcher.run(job)
            else:
                self._answer_here(head, job, close=self._must_close(client, head, payload))
        except GatewayError as error:
            self._refuse(job, error, close=self._must_close(client, head, payload))
        except asyncio.CancelledError:
            job.outcome = "client_gone"
            raise
        except Exception:
            # The task root: a bug in here costs this request, and must not cost the connection's others.
            logger.exception("request %s failed", job.request_id)
            bug = InternalError("The gateway failed on this request.")
            self._refuse(job, bug, close=self._must_close(client, head, payload))
        finally:
            self._conclude(job)
        return answer.keeps_connection and not self._must_close(client, head, payload)

    def _must_close(self, client: ClientConnection, head: RawRequestMessage, payload: StreamReader) -> bool:
        """Whether the connection ends here. What is left of a body would be taken for the next request."""
        return head.should_close or self.draining or client.last or not payload.is_eof()

    # -- answers that need no replica --

    def _answer_here(self, head: RawRequestMessage, job: Job, *, close: bool) -> None:
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
            wanted = head.url.path.removeprefix("/v1/models/")
            found = names.get(wanted)
            if found is None or not found.listed:
                raise ModelNotFound(f"The model `{wanted[:256]}` does not exist.", param="model")
            content = messages.model_card(found, now)
        head_only = job.method == "HEAD"
        body = orjson.dumps(content)
        message = messages.json_message(status, body, job.id_line, close=close, head_only=head_only)
        job.answer.whole(message, status)

    # -- the end of every request --

    def _refuse(self, job: Job, error: GatewayError, *, close: bool) -> None:
        job.error = error.message
        if isinstance(error, ClientGone):
            job.outcome = "client_gone"
        elif job.answer.begun:
            job.outcome = "broken"
            job.answer.break_off()
        else:
            job.outcome = "error"
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


def _authorization_line(headers: RequestHeaders) -> bytes:
    value = headers.get(b"authorization")
    return b"" if value is None else b"authorization: %b\r\n" % value
