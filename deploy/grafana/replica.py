"""One replica: what the gateway sees of it, and what its engine says of itself."""

from deploy.grafana.vocabulary import RATE, Dashboard, Panel, Row, Variable, latency, rate, total

REPLICA = 'replica=~"$replica"'
GATEWAY = "vllm_gateway_replica_"
NAME = "{{replica}}"


def _rate(metric: str) -> str:
    return f"rate({metric}{{{REPLICA}}}[{RATE}])"


# What vLLM has called differently. kv_cache_usage_perc: since 0.9.2, alone since 0.13.
_KV_USAGE = f"vllm:kv_cache_usage_perc{{{REPLICA}}} or vllm:gpu_cache_usage_perc{{{REPLICA}}}"
# prefix_cache_*: since 0.9.2, alone since 0.13.
_HITS = f"{_rate('vllm:prefix_cache_hits_total')} or {_rate('vllm:gpu_prefix_cache_hits_total')}"
_QUERIES = f"{_rate('vllm:prefix_cache_queries_total')} or {_rate('vllm:gpu_prefix_cache_queries_total')}"
# inter_token_latency_seconds: since 0.10.2, alone since 0.16.
_NEW_GAPS = _rate("vllm:inter_token_latency_seconds_bucket")
_TOKEN_GAPS = f"{_NEW_GAPS} or {_rate('vllm:time_per_output_token_seconds_bucket')}"

STATE = Row(
    "State",
    [
        Panel("Up", [(f"min by (replica) ({GATEWAY}up{{{REPLICA}}})", NAME)], "bool_yes_no", number=True),
        Panel(
            "Ejected",
            [(f"max by (replica) ({GATEWAY}ejected{{{REPLICA}}})", NAME)],
            "bool_yes_no",
            "Out because its requests failed; it comes back by itself.",
            number=True,
        ),
        Panel(
            "Draining",
            [(f"max by (replica) ({GATEWAY}draining{{{REPLICA}}})", NAME)],
            "bool_yes_no",
            "An operator keeps new requests away.",
            number=True,
        ),
        Panel("In flight", [(total(f"{GATEWAY}outstanding", REPLICA, "replica"), NAME)], number=True),
    ],
)

GATEWAY_SIDE = Row(
    "As the gateway sees it",
    [
        Panel("Requests", [(rate(f"{GATEWAY}requests_total", REPLICA, "replica"), NAME)], "reqps"),
        Panel(
            "Failures",
            [(rate(f"{GATEWAY}failures_total", REPLICA, "replica"), NAME)],
            "reqps",
            "Connect errors, broken answers and 5xx.",
        ),
        Panel(
            "Ejections in 30 min",
            [
                (
                    f"sum by (replica, reason) (increase({GATEWAY}ejections_total{{{REPLICA}}}[30m]))",
                    "{{replica}} {{reason}}",
                )
            ],
        ),
        Panel("Connections", [(total(f"{GATEWAY}connections", REPLICA, "replica"), NAME)]),
    ],
)

ENGINE = Row(
    "As its engine says",
    [
        Panel(
            "Running and waiting",
            [
                (total("vllm:num_requests_running", REPLICA, "replica"), f"{NAME} running"),
                (total("vllm:num_requests_waiting", REPLICA, "replica"), f"{NAME} waiting"),
            ],
            about="Should be what is in flight at the gateway: else somebody else sends it work.",
        ),
        Panel(
            "KV cache in use",
            [(f"max by (replica) ({_KV_USAGE})", NAME)],
            "percentunit",
            largest=1,
        ),
        Panel(
            "Preemptions",
            [(rate("vllm:num_preemptions_total", REPLICA, "replica"), NAME)],
            "ops",
            "The engine ran out of KV cache and threw a running request back: it computes it again.",
        ),
        Panel(
            "Prefix cache hits",
            [(f"sum by (replica) ({_HITS}) / sum by (replica) ({_QUERIES})", NAME)],
            "percentunit",
            largest=1,
        ),
    ],
)

SPEED = Row(
    "Speed of its engine",
    [
        Panel(
            "Tokens a second",
            [
                (rate("vllm:generation_tokens_total", REPLICA, "replica"), f"{NAME} generated"),
                (rate("vllm:prompt_tokens_total", REPLICA, "replica"), f"{NAME} of prompts"),
            ],
        ),
        Panel(
            "Time to first token, without the gateway",
            latency("vllm:time_to_first_token_seconds", REPLICA, "replica"),
            "s",
        ),
        Panel(
            "Between tokens, without the gateway",
            [(f"histogram_quantile(0.95, sum by (le, replica) ({_TOKEN_GAPS}))", f"{NAME} p95")],
            "s",
        ),
        Panel(
            "Ended by",
            [(rate("vllm:request_success_total", REPLICA, "finished_reason"), "{{finished_reason}}")],
            "reqps",
        ),
    ],
)

ONE_REPLICA = Dashboard(
    uid="vllm-gateway-replica",
    title="vllm-gateway: one replica",
    about="One vLLM server: what the gateway sees of it, and what its engine says of itself.",
    rows=(STATE, GATEWAY_SIDE, ENGINE, SPEED),
    variables=(Variable("replica", f"{GATEWAY}up", "replica"),),
)
