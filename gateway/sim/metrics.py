"""vLLM's /metrics: names, labels and buckets as a running 0.32 shows them.

Owns the exposition text. prometheus_client is not used on purpose: the
gateway's own exposition is, and what reads this must not be checked against its own mistakes.
"""

import time

from gateway.sim.state import ReplicaState

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

_FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")


class _Text:
    """Collects exposition lines."""

    def __init__(self, model: str) -> None:
        self.labels = f'model_name="{_escaped(model)}"'
        self.lines: list[str] = []

    def head(self, name: str, kind: str, text: str) -> None:
        self.lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")

    def sample(self, name: str, value: float, **labels: str) -> None:
        pairs = [f'{key}="{_escaped(labels[key])}"' for key in sorted(labels)]
        self.lines.append(
            f"{name}{{{','.join(pairs)}}} {float(value)}" if pairs else f"{name} {float(value)}"
        )

    def engine(self, name: str, kind: str, text: str, value: float) -> None:
        self.head(name, kind, text)
        suffix = "_total" if kind == "counter" and not name.endswith("_total") else ""
        self.lines.append(f'{name}{suffix}{{engine="0",{self.labels}}} {float(value)}')


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(state: ReplicaState) -> bytes:
    """Render everything a gateway or an operator reads from a vLLM replica."""
    out = _Text(state.options.names[0])
    _scheduler(out, state)
    _requests(out, state)
    for name, text, histogram in state.timings.all():
        out.head(f"vllm:{name}", "histogram", text)
        out.lines.extend(histogram.lines(f"vllm:{name}", out.labels))
    _lora(out, state)
    _cache_config(out, state)
    _own(out, state)
    return ("\n".join(out.lines) + "\n").encode()


def _scheduler(out: _Text, state: ReplicaState) -> None:
    stats, model = state.clock.published, state.options.names[0]
    out.engine(
        "vllm:num_requests_running", "gauge", "Number of requests in model execution batches.", stats.running
    )
    out.engine(
        "vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.", stats.waiting
    )
    name = "vllm:num_requests_waiting_by_reason"
    out.head(name, "gauge", "Number of waiting requests by reason.")
    out.sample(name, stats.waiting, engine="0", model_name=model, reason="capacity")
    out.sample(name, 0, engine="0", model_name=model, reason="deferred")
    name = "vllm:engine_sleep_state"
    out.head(name, "gauge", "Engine sleep state.")
    level = state.sleep_level
    states = (("awake", level is None), ("weights_offloaded", level == 1), ("discard_all", level == 2))  # noqa: PLR2004
    for sleep_state, holds in states:
        out.sample(name, holds, engine="0", model_name=model, sleep_state=sleep_state)
    out.engine(
        "vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", stats.kv_usage
    )
    out.engine(
        "vllm:num_preemptions_total",
        "counter",
        "Cumulative number of preemption from the engine.",
        stats.preemptions,
    )
    out.engine(
        "vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.", stats.prompt_tokens
    )
    out.engine(
        "vllm:generation_tokens_total",
        "counter",
        "Number of generation tokens processed.",
        stats.generation_tokens,
    )
    name = "vllm:iteration_tokens_total"
    out.head(name, "histogram", "Histogram of number of tokens per engine_step.")
    tokens = stats.prompt_tokens + stats.generation_tokens
    out.sample(f"{name}_bucket", stats.steps, engine="0", le="+Inf", model_name=model)
    out.sample(f"{name}_count", stats.steps, engine="0", model_name=model)
    out.sample(f"{name}_sum", tokens, engine="0", model_name=model)
    for kind in ("queries", "hits"):
        text = f"Prefix cache {kind}, in terms of number of tokens."
        value = stats.prompt_tokens if kind == "queries" else 0
        out.engine(f"vllm:prefix_cache_{kind}_total", "counter", text, value)


def _requests(out: _Text, state: ReplicaState) -> None:
    model = state.options.names[0]
    name = "vllm:request_success_total"
    out.head(name, "counter", "Count of successfully processed requests.")
    for reason in _FINISH_REASONS:
        out.sample(name, state.finished[reason], engine="0", finished_reason=reason, model_name=model)
    name = "vllm:admission_rejections_total"
    out.head(name, "counter", "Number of admission attempts rejected by a queue limit, by reason.")
    out.sample(name, state.rejected, model_name=model, reason="max_num_queued_reqs")
    out.sample(name, 0, model_name=model, reason="max_num_queued_tokens")
    name = "http_requests_total"
    out.head(name, "counter", "Total number of requests by method, status and handler.")
    for (path, method, status), count in sorted(state.http_requests.items()):
        out.sample(name, count, handler=path, method=method, status=status)


def _lora(out: _Text, state: ReplicaState) -> None:
    """The adapters in use, not those loaded; the value is the time, as in vLLM."""
    running: set[str] = set()
    waiting: set[str] = set()
    for answer in state.answers:
        if answer.params.adapter:
            (running if answer.first_token_at else waiting).add(answer.params.adapter)
    name = "vllm:lora_requests_info"
    out.head(name, "gauge", "Running stats on lora requests.")
    labels = {
        "running_lora_adapters": ",".join(sorted(running)),
        "waiting_lora_adapters": ",".join(sorted(waiting)),
    }
    out.sample(name, time.time(), max_lora="4", **labels)


def _cache_config(out: _Text, state: ReplicaState) -> None:
    limits = state.options.engine
    name = "vllm:cache_config_info"
    out.head(name, "gauge", "Information of the LLMEngine CacheConfig")
    size = limits.num_gpu_blocks * limits.block_size
    out.sample(
        name, 1, block_size=str(limits.block_size), cache_dtype="auto", enable_prefix_caching="True",
        engine="0", gpu_memory_utilization="0.92", num_gpu_blocks=str(limits.num_gpu_blocks),
        kv_cache_size_tokens=str(size),
        kv_cache_max_concurrency=str(size / state.options.max_model_len),
    )  # fmt: skip


def _own(out: _Text, state: ReplicaState) -> None:
    """What only the simulation knows."""
    out.head("sim:requests_total", "counter", "Inference requests accepted, by name and adapter.")
    for (model, adapter), count in sorted(state.requests.items()):
        out.sample("sim:requests_total", count, model=model, adapter=adapter)
    out.head("sim:aborted_total", "counter", "Requests whose client went away before the end.")
    out.sample("sim:aborted_total", state.aborted)
    out.head("sim:open_requests", "gauge", "Generate requests that have not ended, frozen or not.")
    out.sample("sim:open_requests", len(state.answers))
