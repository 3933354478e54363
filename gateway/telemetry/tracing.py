"""OpenTelemetry spans: one a request, with its attempts as children, sent to a collector over OTLP/HTTP.

Imported only where tracing is on, because the SDK is an optional extra (`otel`); whoever relays without it
pays nothing. Must never wait: spans are queued, and a thread of the SDK sends them. What a collector can't
take in time is dropped. A traced request costs some 180 µs of CPU, one that is not sampled some 40 µs (one
core of a 2-core machine, attempt and sending included).

Attribute names are those of OpenTelemetry's semantic conventions (HTTP, and GenAI 1.40), with
`vllm_gateway.` before those that only we have.
"""

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.telemetry.record import RequestRecord
from gateway.version import VERSION

SIGNAL_PATH = "/v1/traces"
"""Where OTLP/HTTP takes traces (OTLP specification, "OTLP/HTTP Request")."""
CLOSE_S = 3.0
"""How long the last spans may take to leave when a worker ends."""
PROVIDER = "vllm"

_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
_SERVER_ERROR = 500


class Tracing:
    """The spans of one worker process."""

    def __init__(self, endpoint: str, sample: float) -> None:
        """Send to the collector at `endpoint`; `sample` is the share of traces that begin here, 0 to 1.

        A client's own decision, as its `traceparent` tells it, goes before `sample`. The SDK's environment
        variables for headers, time limits and resource attributes hold (OTEL_EXPORTER_OTLP_HEADERS, …).
        """
        self._provider = TracerProvider(
            resource=_resource(),
            sampler=ParentBased(TraceIdRatioBased(sample)),
            span_limits=SpanLimits(max_attribute_length=1024),
            shutdown_on_exit=False,  # it would wait for half a minute for a collector that is gone
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(signal_url(endpoint))))
        self._tracer = self._provider.get_tracer("vllm-gateway", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[None]:
        """A request's span, current until its end; it continues the trace that the headers name, if any."""
        parent = self._propagator.extract(headers, Context())
        with self._tracer.start_as_current_span(method, parent, SpanKind.SERVER):
            yield

    def conclude(self, record: RequestRecord) -> None:
        """Tell the current request's span what became of the request."""
        span = get_current_span()
        if span.is_recording():
            describe(span, record)

    @contextmanager
    def attempt(self, path: str, model: str, replica: str, resends: int) -> Iterator[Span]:
        """The span of one attempt, current until its end. `resends` counts the attempts before it."""
        operation = operation_of(path)
        attributes = {**_about(path, model), **_server(replica)}
        if resends:
            attributes["http.request.resend_count"] = resends
        with self._tracer.start_as_current_span(
            f"{operation} {model}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            # A client that leaves is an exception here and no error of the replica's.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def outgoing(self) -> dict[str, str]:
        """The headers by which a replica's own spans become children of the current one."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    def close(self) -> None:
        """Send what is queued, for at most `CLOSE_S` seconds."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_S)


def describe(span: Span, record: RequestRecord) -> None:
    """Name a request's span and give it what the record says."""
    status = record.status
    span.set_attributes(
        {
            "http.request.method": record.method,
            "http.response.status_code": status,
            "url.path": record.path,
            "client.address": record.client_address,
            "vllm_gateway.request_id": record.request_id,
            "vllm_gateway.outcome": record.outcome,
            "vllm_gateway.attempts": record.attempts,
            "vllm_gateway.queued_s": record.queued_s,
        }
    )
    if record.model:
        # Only a path that was served is one of few, as span names and routes must be.
        span.update_name(f"{record.method} {record.path}")
        span.set_attribute("http.route", record.path)
        span.set_attributes(_about(record.path, record.model))
        span.set_attribute("gen_ai.request.stream", record.stream)
    optional = {
        "vllm_gateway.replica": record.replica or None,
        "vllm_gateway.adapter": record.adapter or None,
        "gen_ai.usage.input_tokens": record.tokens[0],
        "gen_ai.usage.output_tokens": record.tokens[1],
    }
    span.set_attributes({name: value for name, value in optional.items() if value is not None})
    if record.first_byte_at:
        span.set_attribute("gen_ai.response.time_to_first_chunk", record.first_byte_at - record.received_at)
    broken = record.outcome == "broken"
    if broken or status >= _SERVER_ERROR:  # a 4xx is the client's error, not this server's (HTTP spans)
        span.set_attribute("error.type", "broken" if broken else str(status))
        span.set_status(StatusCode.ERROR, record.error)


def operation_of(path: str) -> str:
    """What GenAI conventions call the operation; for routes they don't know, the route's last word."""
    return _OPERATIONS.get(path) or path.rpartition("/")[2] or "unknown"


def signal_url(endpoint: str) -> str:
    """The URL that takes traces, from a collector's base URL or from that very URL."""
    base, question, query = endpoint.partition("?")
    base = base.rstrip("/")
    return f"{base if base.endswith(SIGNAL_PATH) else base + SIGNAL_PATH}{question}{query}"


def _about(path: str, model: str) -> dict[str, str | int]:
    return {
        "gen_ai.operation.name": operation_of(path),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
    }


def _server(replica: str) -> dict[str, str | int]:
    host, _, port = replica.partition("://")[2].partition("/")[0].rpartition(":")
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _resource() -> Resource:
    """Who sends: ours, unless the SDK's environment variables say otherwise."""
    ours = {
        "service.name": "vllm-gateway",
        "service.version": VERSION,
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
