"""OpenTelemetry spans as a collector gets them, and trace contexts as replicas get them."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.config import Secrets, parse
from gateway.control.plane import Loaded
from gateway.control.process import control_plane
from gateway.fleet.snapshot import Retries
from gateway.proxy.front import FrontServer
from gateway.proxy.gateway import Gateway
from gateway.proxy.settings import Settings
from gateway.proxy.traced import Traced
from gateway.sim import SimulatedReplica
from gateway.telemetry.meters import WorkerMeter
from tests.integration.collector import Collector, Received
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import chat, sim, unused_url

CHAT = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class TracedFront(Front):
    """A front of one worker that traces to a collector."""

    def __init__(
        self, collector: str, *plans: Plan, sample: float = 1.0, retries: Retries | None = None
    ) -> None:
        settings = Settings(otlp_endpoint=collector, trace_sample=sample)
        super().__init__(*plans, settings=settings, retries=retries)
        (plane,) = self.planes
        self.traced = Traced(settings)
        meter = WorkerMeter(self.board, 0)
        dispatcher = self.traced.dispatcher(plane.fleet, plane.deadlines)
        plane.gateway = Gateway(settings, plane.fleet, dispatcher, meter, self.traced.conclude)
        handle = self.traced.handler(plane.gateway.handle)
        plane.front = FrontServer(handle, meter, settings)


@asynccontextmanager
async def traced(
    *replicas: SimulatedReplica | str, sample: float = 1.0
) -> AsyncIterator[tuple[Collector, TracedFront]]:
    """A traced front of one pool; what it traced has arrived once `flushed` has returned."""
    urls = [replica if isinstance(replica, str) else replica.url for replica in replicas]
    async with (
        Collector() as collector,
        TracedFront(collector.url, Plan("chat", urls), sample=sample) as front,
    ):
        yield collector, front
        await asyncio.to_thread(front.traced.close)


async def spans(collector: Collector, front: TracedFront) -> tuple[list[Received], list[Received]]:
    """What arrived: the spans of requests and of attempts, in the order in which they ended."""
    await until(lambda: front.planes[0].gateway.running == 0)
    await asyncio.to_thread(front.traced.close)
    kinds = ("SERVER", "CLIENT")
    assert {span.kind for span in collector.spans} <= set(kinds)
    requests, attempts = ([span for span in collector.spans if span.kind == kind] for kind in kinds)
    return requests, attempts


def contexts(replica: SimulatedReplica) -> list[list[str]]:
    """The trace contexts of each request that the replica received."""
    return [
        [value for name, value in request.headers if name.lower() == "traceparent"]
        for request in replica.requests
    ]


async def test_a_request_is_a_span_in_the_client_s_trace_and_its_attempt_a_child_of_it() -> None:
    async with sim() as replica, traced(replica) as (collector, front):
        headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
        assert (await ask(front.port, "POST", CHAT, chat(), **headers)).status == 200
        (request,), (attempt,) = await spans(collector, front)
        assert (request.trace, request.parent) == (TRACE, PARENT)
        assert (attempt.trace, attempt.parent) == (TRACE, request.id)
        assert contexts(replica) == [[f"00-{TRACE}-{attempt.id}-01"]]
        assert [v for n, v in replica.requests[0].headers if n == "tracestate"] == ["vendor=1"]
        assert (request.name, attempt.name) == (f"POST {CHAT}", "chat chat")
        assert request.error is attempt.error is None
        assert request.duration_s >= attempt.duration_s > 0


async def test_spans_speak_the_semantic_conventions() -> None:
    async with sim() as replica, traced(replica) as (collector, front):
        await ask(front.port, "POST", CHAT, chat(stream=True), x_request_id="my-id")
        (request,), (attempt,) = await spans(collector, front)
        assert request.resource["service.name"] == "vllm-gateway"
        for span in (request, attempt):
            assert span.attributes["gen_ai.operation.name"] == "chat"
            assert span.attributes["gen_ai.provider.name"] == "vllm"
            assert span.attributes["gen_ai.request.model"] == "chat"
            assert span.attributes["http.response.status_code"] == 200
            assert 0 < span.attributes["gen_ai.response.time_to_first_chunk"] <= span.duration_s
        assert request.attributes["http.request.method"] == "POST"
        assert request.attributes["http.route"] == request.attributes["url.path"] == CHAT
        assert request.attributes["client.address"] == "127.0.0.1"
        assert request.attributes["gen_ai.request.stream"] is True
        assert request.attributes["vllm_gateway.request_id"] == "my-id"
        assert request.attributes["vllm_gateway.replica"] == replica.url
        assert attempt.attributes["server.address"] == "127.0.0.1"
        assert attempt.attributes["server.port"] == replica.port


async def test_a_failover_is_two_attempts_of_one_request() -> None:
    gone = unused_url()
    async with sim() as replica, traced(gone, replica) as (collector, front):
        for _ in range(2):  # one of them is sent to the missing replica first
            assert (await ask(front.port, "POST", CHAT, chat(), traceparent=SAMPLED)).status == 200
        requests, attempts = await spans(collector, front)
        (failed,) = [span for span in attempts if span.error is not None]
        (again,) = [span for span in attempts if span.attributes.get("http.request.resend_count") == 1]
        assert failed.attributes["error.type"] == "connect"
        assert failed.parent == again.parent
        assert again.attributes["server.port"] == replica.port
        (request,) = [span for span in requests if span.id == again.parent]
        assert (request.attributes["vllm_gateway.attempts"], request.error) == (2, None)
        assert [len(each) for each in contexts(replica)] == [1, 1], "each attempt brings one context, its own"


async def test_a_stream_that_breaks_is_an_error_of_attempt_and_request() -> None:
    async with sim() as replica, traced(replica) as (collector, front):
        replica.set_faults(truncate_after_tokens=2)
        await ask(front.port, "POST", CHAT, chat(stream=True, max_tokens=9))
        (request,), (attempt,) = await spans(collector, front)
        assert attempt.attributes["error.type"] == "truncated"
        assert request.attributes["error.type"] == "broken"
        assert request.error
        assert attempt.error == "the stream ended without its end marker"


async def test_a_client_that_leaves_is_no_error() -> None:
    async with sim() as replica, traced(replica) as (collector, front):
        replica.set_faults(freeze=True)
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True)))
            await until(lambda: replica.running == 1)
        (request,), (attempt,) = await spans(collector, front)
        assert (request.error, attempt.error) == (None, None)
        assert request.attributes["http.response.status_code"] == 499
        assert request.attributes["vllm_gateway.outcome"] == "client_gone"


async def test_what_a_client_does_wrong_is_a_span_without_attempt_and_without_error() -> None:
    async with sim() as replica, traced(replica) as (collector, front):
        await ask(front.port, "POST", CHAT, chat(model="nope"), traceparent=SAMPLED)
        await ask(front.port, "POST", "/nowhere", chat())
        requests, attempts = await spans(collector, front)
        assert [span.attributes["http.response.status_code"] for span in requests] == [404, 404]
        assert [(span.name, span.error) for span in requests] == [("POST", None)] * 2
        assert requests[0].trace == TRACE
        assert attempts == []


async def test_health_checks_are_not_traced() -> None:
    async with sim() as replica, traced(replica) as (collector, front):
        await ask(front.port, "GET", "/health")
        await ask(front.port, "GET", "/v1/models")
        requests, _ = await spans(collector, front)
        assert [span.attributes["url.path"] for span in requests] == ["/v1/models"]


@pytest.mark.parametrize(
    ("sample", "traceparent", "sent"),
    [(1.0, UNSAMPLED, 0), (0.0, SAMPLED, 1), (0.0, None, 0), (1.0, "nonsense", 1)],
)
async def test_the_client_decides_what_is_traced_and_else_the_share(
    sample: float, traceparent: str | None, sent: int
) -> None:
    async with sim() as replica, traced(replica, sample=sample) as (collector, front):
        headers = {} if traceparent is None else {"traceparent": traceparent}
        await ask(front.port, "POST", CHAT, chat(), **headers)
        requests, _ = await spans(collector, front)
        assert len(requests) == sent
        ((context,),) = contexts(replica)
        assert context.startswith(f"00-{TRACE}-") is (traceparent in {SAMPLED, UNSAMPLED})
        assert int(context.rpartition("-")[2], 16) & 1 == sent
        assert PARENT not in context


async def test_without_tracing_a_client_s_context_reaches_the_replica_as_it_is() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        await ask(front.port, "POST", CHAT, chat(), traceparent=SAMPLED)
        assert contexts(replica) == [[SAMPLED]]


async def test_a_collector_that_is_gone_costs_no_request_and_little_time_at_the_end() -> None:
    async with sim() as replica, TracedFront(unused_url(), Plan("chat", [replica.url])) as front:
        assert (await ask(front.port, "POST", CHAT, chat())).status == 200
        async with asyncio.timeout(10):
            await asyncio.to_thread(front.traced.close)


def test_a_worker_that_does_not_trace_does_not_load_the_sdk() -> None:
    code = (
        "import sys, gateway.proxy.worker; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_workers_of_a_configured_gateway_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-gateway")
    async with sim() as replica, Collector() as collector:
        config = parse(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\nshutdown_grace: 1s\n"
            f"tracing: {{otlp_endpoint: '{collector.url}'}}\nreplicas: ['{replica.url}']\n",
            "gateway.yaml",
        )
        async with control_plane(Loaded(config, Secrets())) as plane:
            await plane.ready()
            assert (await ask(plane.listen.port, "POST", CHAT, chat(), traceparent=SAMPLED)).status == 200
            await until(lambda: len(collector.spans) == 2, 20.0)
            assert (await ask(plane.listen.port, "POST", CHAT, chat(model="nope"))).status == 404
            await plane.stop(1.0)  # what is not sent yet leaves before the worker ends
        assert len(collector.spans) == 3
        assert {span.resource["service.name"] for span in collector.spans} == {"shop-gateway"}
