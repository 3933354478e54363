"""Adapters, sleep, aborts, the queue, metrics: what an operator and a control plane see of a replica."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, ask, encode, until

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)
LIMITS = EngineLimits(step_s=0.002, prefill_tokens_per_s=0)
PATH = "/v1/completions"
LOADED_ALREADY = (
    "The lora adapter 'lora-a' has already been loaded. If you want to load the adapter in place, "
    "set 'load_inplace' to True."
)
LONG = {"prompt": "x", "max_tokens": 1000, "stream": True}


@pytest.fixture
async def replica() -> AsyncIterator[SimulatedReplica]:
    options = SimOptions("demo", adapters=(("lora-a", "loras/a"),), engine=LIMITS)
    async with SimulatedReplica(options) as replica:
        yield replica


async def metrics(port: int) -> dict[str, float]:
    """Samples by name and labels, the engine's and the model's own left out."""
    reply = await ask(port, "GET", "/metrics")
    assert reply.header("content-type") == "text/plain; version=1.0.0; charset=utf-8"
    samples = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("engine", "model_name")}
            inner = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
            samples[f"{sample.name}{{{inner}}}"] = sample.value
    return samples


async def names(port: int) -> list[str]:
    return [card["id"] for card in (await ask(port, "GET", "/v1/models")).json["data"]]


async def test_an_adapter_is_loaded_used_and_unloaded(replica: SimulatedReplica) -> None:
    port = replica.port
    loaded = await ask(port, "POST", "/v1/load_lora_adapter", {"lora_name": "lora-b", "lora_path": "loras/b"})
    assert (loaded.status, loaded.body) == (200, b"Success: LoRA adapter 'lora-b' added successfully.")
    assert loaded.header("content-type") is None
    assert await names(port) == ["demo", "lora-a", "lora-b"]
    reply = await ask(port, "POST", PATH, {"model": "lora-b", "prompt": "x"})
    assert reply.text == expected_text("demo", "lora-b", "x", 16)
    unloaded = await ask(port, "POST", "/v1/unload_lora_adapter", {"lora_name": "lora-b"})
    assert unloaded.body == b"Success: LoRA adapter 'lora-b' removed successfully."
    assert (await ask(port, "POST", PATH, {"model": "lora-b", "prompt": "x"})).status == 404


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (
            {"lora_name": "lora-a", "lora_path": "loras/a"},
            400,
            "InvalidUserInput",
            LOADED_ALREADY,
        ),
        (
            {"lora_name": "demo", "lora_path": "loras/a"},
            400,
            "InvalidUserInput",
            "The lora adapter 'demo' conflicts with a served base model.",
        ),
        (
            {"lora_name": "x", "lora_path": "/nope"},
            404,
            "NotFoundError",
            "Loading lora x failed: No adapter found for /nope",
        ),
        (
            {"lora_name": "x", "lora_path": ""},
            400,
            "InvalidUserInput",
            "Both 'lora_name' and 'lora_path' must be provided.",
        ),
    ],
)
async def test_an_adapter_that_can_t_be_loaded_is_refused_as_recorded(
    replica: SimulatedReplica, body: object, status: int, kind: str, message: str
) -> None:
    reply = await ask(replica.port, "POST", "/v1/load_lora_adapter", body)
    assert reply.status == status
    assert reply.json == {"error": {"message": message, "type": kind, "param": None, "code": status}}
    assert await names(replica.port) == ["demo", "lora-a"]


async def test_an_adapter_is_replaced_in_place_when_asked(replica: SimulatedReplica) -> None:
    body = {"lora_name": "lora-a", "lora_path": "loras/new", "load_inplace": True}
    assert (await ask(replica.port, "POST", "/v1/load_lora_adapter", body)).status == 200
    data = (await ask(replica.port, "GET", "/v1/models")).json["data"]
    assert data[1]["root"] == "loras/new"


async def test_unloading_what_is_not_there_is_a_404(replica: SimulatedReplica) -> None:
    reply = await ask(replica.port, "POST", "/v1/unload_lora_adapter", {"lora_name": "zzz"})
    assert (reply.status, reply.json["error"]["message"]) == (404, "The lora adapter 'zzz' cannot be found.")


async def test_sleep_aborts_what_runs_and_leaves_new_requests_hanging_until_wake_up(
    replica: SimulatedReplica,
) -> None:
    port = replica.port
    async with await Client.open(port) as running, await Client.open(port) as late:
        running.send(encode("POST", PATH, LONG))
        await until(lambda: replica.state.clock.published.generation_tokens > 3)
        assert (await ask(port, "POST", "/sleep?level=1")).json == {"status": "sleeping", "level": 1}
        reply = await running.reply()
        assert (reply.finish_reason, reply.events[-1]) == ("abort", "[DONE]")
        late.send(encode("POST", PATH, {**LONG, "max_tokens": 5}))
        await late.head()
        assert (await ask(port, "GET", "/is_sleeping")).json == {"is_sleeping": True}
        assert (await ask(port, "GET", "/health")).status == 200
        assert (await metrics(port))["vllm:engine_sleep_state{sleep_state=weights_offloaded}"] == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(late.reader.read(1), 0.05)
        assert (await ask(port, "POST", "/wake_up")).json == {"status": "awake", "tags": None}
        chunks = [await late.chunk() for _ in range(6)]
        assert chunks[-1] == b"data: [DONE]\n\n"


async def test_sleep_in_keep_mode_freezes_what_runs(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as running:
        running.send(encode("POST", PATH, {**LONG, "max_tokens": 30}))
        await running.head()
        await running.chunk()
        await ask(replica.port, "POST", "/sleep?level=0&mode=keep")
        assert replica.running == 1
        await ask(replica.port, "POST", "/wake_up")
        while chunk := await running.chunk():
            last = chunk
        assert last == b"data: [DONE]\n\n"
    assert (await ask(replica.port, "POST", "/sleep?level=3")).status == 400


async def test_abort_requests_ends_the_named_ones_or_all(replica: SimulatedReplica) -> None:
    port = replica.port
    async with await Client.open(port) as one, await Client.open(port) as two:
        for client, name in ((one, "a"), (two, "b")):
            client.send(encode("POST", PATH, {**LONG, "request_id": name}))
            await client.head()
        aborted = await ask(port, "POST", "/abort_requests", {"request_ids": ["cmpl-a", "cmpl-zzz"]})
        assert aborted.json == {"status": "aborted", "aborted": 1}
        while await one.chunk():
            pass
        assert replica.running == 1
        assert (await ask(port, "POST", "/abort_requests", {})).json["aborted"] == 1
    assert replica.running == 0


async def test_above_the_queue_limit_requests_are_refused_at_once() -> None:
    limits = EngineLimits(max_num_seqs=1, step_s=0.005)
    options = SimOptions("demo", engine=limits, max_num_queued_reqs=2)
    async with (
        SimulatedReplica(options) as replica,
        await Client.open(replica.port) as one,
        await Client.open(replica.port) as two,
    ):
        for client in (one, two):
            client.send(encode("POST", PATH, LONG))
            await client.head()
        reply = await ask(replica.port, "POST", PATH, LONG)
        assert (reply.status, reply.json["error"]["type"]) == (503, "Service Unavailable")
        assert reply.json["error"]["message"].startswith("The engine is currently busy")
        rejections = "vllm:admission_rejections_total{reason=max_num_queued_reqs}"
        assert (await metrics(replica.port))[rejections] == 1


async def test_metrics_follow_running_and_waiting_requests() -> None:
    limits = EngineLimits(max_num_seqs=2, step_s=0.005, num_gpu_blocks=64)
    async with SimulatedReplica(SimOptions("demo", engine=limits)) as replica:
        clients = [await Client.open(replica.port) for _ in range(5)]
        for client in clients:
            client.send(encode("POST", PATH, LONG))
            await client.head()
        await until(lambda: replica.state.clock.published.running == 2)
        values = await metrics(replica.port)
        assert values["vllm:num_requests_running{}"] == 2
        assert values["vllm:num_requests_waiting{}"] == 3
        assert values["vllm:num_requests_waiting_by_reason{reason=capacity}"] == 3
        assert values["vllm:kv_cache_usage_perc{}"] > 0
        for client in clients:
            await client.__aexit__()
        await until(lambda: replica.state.aborted == 5)
        values = await metrics(replica.port)
        assert values["vllm:num_requests_running{}"] == values["vllm:num_requests_waiting{}"] == 0
        assert values["vllm:kv_cache_usage_perc{}"] == 0
        assert values["sim:aborted_total{}"] == 5


async def test_metrics_count_tokens_ends_and_requests(replica: SimulatedReplica) -> None:
    port = replica.port
    for model in ("demo", "lora-a", "lora-a"):
        await ask(port, "POST", PATH, {"model": model, "prompt": "xy", "max_tokens": 10})
    await ask(port, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    await ask(port, "POST", PATH, {"model": "nope", "prompt": "x"})
    values = await metrics(port)
    assert values["vllm:generation_tokens_total{}"] == 30 + 33
    assert values["vllm:prompt_tokens_total{}"] == 6 + 4
    assert values["vllm:request_success_total{finished_reason=length}"] == 3
    assert values["vllm:request_success_total{finished_reason=stop}"] == 1
    assert values["sim:requests_total{adapter=,model=demo}"] == 2
    assert values["sim:requests_total{adapter=lora-a,model=lora-a}"] == 2
    assert values["http_requests_total{handler=/v1/completions,method=POST,status=2xx}"] == 3
    assert values["http_requests_total{handler=/v1/completions,method=POST,status=4xx}"] == 1
    assert values["vllm:time_to_first_token_seconds_count{}"] == 4
    assert values["vllm:e2e_request_latency_seconds_bucket{le=+Inf}"] == 4


async def test_load_is_0_as_without_load_tracking(replica: SimulatedReplica) -> None:
    assert (await ask(replica.port, "GET", "/load")).json == {"server_load": 0}


async def test_an_unknown_route_can_stand_for_a_future_one(replica: SimulatedReplica) -> None:
    reply = await ask(replica.port, "POST", "/v1/sim/echo", b"\x00any", content_type="application/x-new")
    assert (reply.body, reply.header("content-type")) == (b"\x00any", "application/x-new")
