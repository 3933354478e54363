"""The data plane with OpenTelemetry spans around requests and attempts.

A worker imports this only where tracing is on; without it, requests meet neither a hook nor a flag.
"""

import re
import time

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from opentelemetry.trace import Span, StatusCode

from gateway.proxy.client import ClientConnection, Handler
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.dispatch import Dispatcher
from gateway.proxy.errors import ConnectFailed
from gateway.proxy.job import Job
from gateway.proxy.lease import LiveReplica
from gateway.proxy.live import LiveFleet
from gateway.proxy.relay import Relay
from gateway.proxy.settings import Settings
from gateway.telemetry.record import RequestRecord
from gateway.telemetry.tracing import Tracing

_TRACE_CONTEXT = re.compile(rb"(?im)^(?:traceparent|tracestate):[^\r\n]*\r\n")
_UNTRACED = frozenset({"/health"})
"""Asked every few seconds by whoever watches the gateway."""


class Traced:
    """What a worker puts together differently where tracing is on."""

    def __init__(self, settings: Settings) -> None:
        assert settings.otlp_endpoint is not None
        self._tracing = Tracing(settings.otlp_endpoint, settings.trace_sample)

    def dispatcher(self, fleet: LiveFleet, deadlines: Deadlines) -> Dispatcher:
        """A dispatcher whose attempts are spans."""
        return TracedDispatcher(fleet, deadlines, self._tracing)

    def handler(self, handle: Handler) -> Handler:
        """Handle requests within a span each."""

        async def traced(client: ClientConnection, head: RawRequestMessage, payload: StreamReader) -> bool:
            if head.path in _UNTRACED:
                return await handle(client, head, payload)
            with self._tracing.request(head.method, head.headers):
                return await handle(client, head, payload)

        return traced

    def conclude(self, record: RequestRecord) -> None:
        """Give the request's span what is known at its end."""
        self._tracing.conclude(record)

    def close(self) -> None:
        """Send what is left. Blocks, but not for long."""
        self._tracing.close()


class TracedDispatcher(Dispatcher):
    """Makes a span of each attempt, whose context the replica gets in place of the client's."""

    def __init__(self, fleet: LiveFleet, deadlines: Deadlines, tracing: Tracing) -> None:
        super().__init__(fleet, deadlines)
        self._tracing = tracing

    async def exchange(self, job: Job, replica: LiveReplica) -> Relay:
        """One attempt."""
        begun_at, goes_on = time.monotonic(), job.answer.begun
        before = job.attempts - 1
        with self._tracing.attempt(job.route.path, job.entry.upstream, replica.view.id, before) as span:
            job.headers.forwarded = self._with_context(job.headers.forwarded)
            if goes_on:
                span.set_attribute("vllm_gateway.resumed", value=True)
            try:
                relay = await super().exchange(job, replica)
            except ConnectFailed as error:
                _failed(span, "connect", error.message)
                raise
            _describe(span, relay, begun_at)
        return relay

    def _with_context(self, headers: bytes) -> bytes:
        ours = "".join(f"{name}: {value}\r\n" for name, value in self._tracing.outgoing().items())
        return _TRACE_CONTEXT.sub(b"", headers) + ours.encode("ascii")


def _describe(span: Span, relay: Relay, begun_at: float) -> None:
    if relay.status:
        span.set_attribute("http.response.status_code", relay.status)
    if relay.first_byte_at:
        span.set_attribute("gen_ai.response.time_to_first_chunk", relay.first_byte_at - begun_at)
    ended = relay.outcome.result()
    if ended.failure is not None:
        _failed(span, ended.failure.value, ended.detail)
    elif relay.status >= 400:  # noqa: PLR2004  (RFC 9110; for a client's span a 4xx is an error too)
        _failed(span, str(relay.status), "")


def _failed(span: Span, kind: str, detail: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, detail)
