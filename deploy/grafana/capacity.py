"""Is there enough of each model, and what runs out first?"""

from deploy.grafana.vocabulary import Dashboard, Panel, Row, Variable, latency, rate

MODEL = 'model=~"$model"'
GATEWAY = "vllm_gateway_"
NAME = "{{model}}"


# Each gateway counts what it sent itself, and reports the same engines as the others do.
_IN_FLIGHT = f"sum by (model, replica) ({GATEWAY}replica_outstanding{{{MODEL}}})"
_RUNNING = f"max by (model, replica) ({GATEWAY}replica_engine_running{{{MODEL}}})"
_WAITING = f"max by (model, replica) ({GATEWAY}replica_engine_waiting{{{MODEL}}})"


def _per_replica(numerator: str) -> str:
    """Divided by the usable replicas of the model; gateways see the same replicas, so the most any sees."""
    return f"{numerator} / (max by (model) (instance_model:{GATEWAY}usable_replicas:sum{{{MODEL}}}) > 0)"


ENOUGH = Row(
    "Is there enough?",
    [
        Panel(
            "Usable replicas",
            [(f"instance_model:{GATEWAY}usable_replicas:sum{{{MODEL}}}", f"{NAME} at {{{{instance}}}}")],
        ),
        Panel(
            "Waiting in the gateway's queue",
            [(f"model:{GATEWAY}queue_depth:sum{{{MODEL}}}", NAME)],
            about="Only when outstanding_per_replica is set; else the engines queue.",
        ),
        Panel("Time in the gateway's queue", latency(f"{GATEWAY}queue_wait_seconds", MODEL, "model"), "s"),
        Panel("Refused", [(rate(f"{GATEWAY}shed_total", MODEL, "model"), NAME)], "reqps"),
    ],
)

LOAD = Row(
    "Load on each replica",
    [
        Panel(
            "In flight per usable replica",
            [(_per_replica(f"model:{GATEWAY}outstanding:sum{{{MODEL}}}"), NAME)],
            about="Compare with outstanding_per_replica and with vLLM's --max-num-seqs.",
        ),
        Panel(
            "Requests per usable replica",
            [(_per_replica(f"model:{GATEWAY}requests:rate5m{{{MODEL}}}"), NAME)],
            "reqps",
        ),
        Panel(
            "Busiest against idlest replica",
            [
                (f"max by (model) ({_IN_FLIGHT})", f"{NAME} busiest"),
                (f"min by (model) ({_IN_FLIGHT})", f"{NAME} idlest"),
            ],
            about="Far apart: weights that do not fit, or an adapter that only some replicas have loaded.",
        ),
    ],
)

ENGINES = Row(
    "What runs out first",
    [
        Panel(
            "KV cache in use, fullest replica",
            [(f"max by (model) ({GATEWAY}replica_kv_cache_usage_ratio{{{MODEL}}})", NAME)],
            "percentunit",
            "Near 1 with requests waiting: memory is what limits this model.",
            largest=1,
        ),
        Panel(
            "Running in the engines",
            [(f"sum by (model) ({_RUNNING})", NAME)],
        ),
        Panel(
            "Waiting in the engines",
            [(f"sum by (model) ({_WAITING})", NAME)],
            about="Waiting with a free KV cache: --max-num-seqs is what limits this model.",
        ),
        Panel("Preemptions", [(rate("vllm:num_preemptions_total", MODEL, "model"), NAME)], "ops"),
    ],
)

WORK = Row(
    "Work done",
    [
        Panel("Tokens generated", [(rate("vllm:generation_tokens_total", MODEL, "model"), NAME)], "ops"),
        Panel("Prompt tokens", [(rate("vllm:prompt_tokens_total", MODEL, "model"), NAME)], "ops"),
        Panel(
            "Bytes in and out",
            [
                (rate(f"{GATEWAY}request_body_bytes_total", MODEL, "model"), f"{NAME} in"),
                (rate(f"{GATEWAY}response_body_bytes_total", MODEL, "model"), f"{NAME} out"),
            ],
            "Bps",
        ),
    ],
)

CAPACITY = Dashboard(
    uid="vllm-gateway-capacity",
    title="vllm-gateway: capacity",
    about="Is there enough of each model, and what runs out first?",
    rows=(ENOUGH, LOAD, ENGINES, WORK),
    variables=(Variable("model", f"{GATEWAY}queue_depth", "model"),),
)
