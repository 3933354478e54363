"""The first page to look at: every model, what its clients get, and how the gateway itself is."""

from deploy.grafana.vocabulary import Dashboard, Panel, Row, Variable, latency, quantile, rate, total

MODEL = 'model=~"$model"'
GATEWAY = "vllm_gateway_"

_REQUESTS = f"sum(rate({GATEWAY}requests_total{{{MODEL}}}[5m]))"
_ERRORS = f'sum(rate({GATEWAY}requests_total{{{MODEL}, code=~"5.."}}[5m]))'

NOW = Row(
    "Now",
    [
        Panel(
            "Requests", [(f"sum(model:{GATEWAY}requests:rate5m{{{MODEL}}})", "")], unit="reqps", number=True
        ),
        Panel(
            "Server errors",
            [(f"{_ERRORS} / {_REQUESTS}", "")],
            unit="percentunit",
            number=True,
        ),
        Panel(
            "Answers that begin too late",
            [(f"max(model:{GATEWAY}slow_first_token:ratio_rate5m{{{MODEL}}})", "")],
            unit="percentunit",
            about="Of the worst model; the objective is at most 5 % over a month.",
            number=True,
        ),
        Panel(
            "Waiting in queues",
            [(f"sum(model:{GATEWAY}queue_depth:sum{{{MODEL}}})", "")],
            number=True,
        ),
        Panel(
            "Fewest usable replicas",
            [(f"min(instance_model:{GATEWAY}usable_replicas:sum{{{MODEL}}})", "")],
            about="Of all models and gateways: 0 means that some clients get errors now.",
            number=True,
        ),
        Panel("Gateways up", [('sum(up{job="vllm-gateway"})', "")], number=True),
    ],
)

TRAFFIC = Row(
    "Traffic",
    [
        Panel(
            "Requests by model", [(rate(f"{GATEWAY}requests_total", MODEL, "model"), "{{model}}")], "reqps"
        ),
        Panel("Requests by status", [(rate(f"{GATEWAY}requests_total", MODEL, "code"), "{{code}}")], "reqps"),
        Panel(
            "In flight and waiting",
            [
                (total(f"{GATEWAY}replica_outstanding", MODEL, "model"), "{{model}} in flight"),
                (total(f"{GATEWAY}queue_depth", MODEL, "model"), "{{model}} waiting"),
            ],
        ),
    ],
)

LATENCY = Row(
    "Latency",
    [
        Panel(
            "Time to first token",
            latency(f"{GATEWAY}time_to_first_token_seconds", MODEL, "model"),
            "s",
            "From the request's head to the answer's first byte, queue included. A point is one request.",
            exemplars=True,
        ),
        Panel(
            "Between tokens",
            latency(f"{GATEWAY}inter_token_latency_seconds", MODEL, "model"),
            "s",
            "Between two arrivals of data in one stream.",
        ),
        Panel(
            "Whole request",
            latency(f"{GATEWAY}request_duration_seconds", MODEL, "model"),
            "s",
            exemplars=True,
        ),
    ],
)

OBJECTIVE = Row(
    "Objective: 95 % of answers begin within 2.5 s",
    [
        Panel(
            f"Too late, over {window}",
            [(f"model:{GATEWAY}slow_first_token:ratio_rate{window}{{{MODEL}}}", "{{model}}")],
            "percentunit",
            largest=1,
        )
        for window in ("5m", "1h", "6h")
    ],
)

TROUBLE = Row(
    "Trouble",
    [
        Panel(
            "Broken answers",
            [(rate(f"{GATEWAY}broken_streams_total", MODEL, "model"), "{{model}}")],
            "reqps",
            "Answers that had begun and could not be finished.",
        ),
        Panel(
            "Refused",
            [(rate(f"{GATEWAY}shed_total", MODEL, "model, reason"), "{{model}} {{reason}}")],
            "reqps",
        ),
        Panel(
            "Sent to another replica",
            [(rate(f"{GATEWAY}retries_total", MODEL, "reason"), "{{reason}}")],
            "reqps",
            "Failed before their first byte: clients noticed nothing.",
        ),
        Panel(
            "Continued on another replica",
            [(rate(f"{GATEWAY}resumed_streams_total", MODEL, "outcome"), "{{outcome}}")],
            "reqps",
            "Streams whose replica failed in the middle; every outcome but `resumed` is why one was not.",
        ),
    ],
)

CLIENTS = Row(
    "Clients",
    [
        Panel(
            "Left before the end",
            [(rate(f"{GATEWAY}client_disconnects_total", MODEL, "model"), "{{model}}")],
            "reqps",
        ),
        Panel(
            "Named no known model or route",
            [(rate(f"{GATEWAY}unrouted_requests_total", "", "code"), "{{code}}")],
            "reqps",
        ),
        Panel("Open connections", [(total(f"{GATEWAY}client_connections", "", "instance"), "{{instance}}")]),
    ],
)

ITSELF = Row(
    "The gateway itself",
    [
        Panel(
            "Own time before a request is sent on",
            [
                (quantile(0.5, f"{GATEWAY}overhead_seconds", MODEL, "model"), "{{model}} p50"),
                (quantile(0.99, f"{GATEWAY}overhead_seconds", MODEL, "model"), "{{model}} p99"),
            ],
            "s",
        ),
        Panel(
            "Event loops run late by",
            [(f"{GATEWAY}event_loop_lag_seconds", "{{instance}} {{worker}}")],
            "s",
            "Above 0.1 s every token is late: too little CPU.",
        ),
        Panel(
            "Workers",
            [
                (f"{GATEWAY}workers_up", "{{instance}} up"),
                (f"increase({GATEWAY}worker_restarts_total[15m])", "{{instance}} restarts in 15 min"),
            ],
        ),
        Panel(
            "Kept to continue streams",
            [(total(f"{GATEWAY}resume_buffer_bytes", "", "instance"), "{{instance}}")],
            "bytes",
        ),
    ],
)

OVERVIEW = Dashboard(
    uid="vllm-gateway-overview",
    title="vllm-gateway: overview",
    about="Every model behind the gateway: traffic, latency, trouble.",
    rows=(NOW, TRAFFIC, LATENCY, OBJECTIVE, TROUBLE, CLIENTS, ITSELF),
    variables=(Variable("model", f"{GATEWAY}queue_depth", "model"),),
)
