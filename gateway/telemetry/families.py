"""Every metric family of the gateway that workers count, once: name, help, labels, buckets.

The scoreboard's layout and the Prometheus exposition are both derived from these tables. Label values are
closed sets, so that nothing a client sends can ever become a label.
"""

from dataclasses import dataclass

CODES = (
    *("200", "201", "202", "204", "301", "302", "307", "308"),
    *(
        "400",
        "401",
        "403",
        "404",
        "405",
        "408",
        "409",
        "411",
        "413",
        "415",
        "417",
        "422",
        "424",
        "429",
        "431",
        "499",
    ),
    *("500", "501", "502", "503", "504"),
    *("1xx", "2xx", "3xx", "4xx", "5xx"),
)
"""Status codes counted by themselves, then the classes that take the rest. 499 is nginx's "client left"."""

RETRY_REASONS = (
    *("connect", "stale_connection", "reset", "draining", "engine_error", "hung"),
    *("adapter_lost", "status_429", "status_502", "status_503"),
)
RESUME_OUTCOMES = (
    *("resumed", "no_replica", "buffer_full", "no_token_ids", "partial_character", "nothing_left"),
    *("several_choices", "sampling_seed", "penalties", "structured_output", "stop_strings", "tool_call"),
    *("reasoning", "unsupported_request", "off"),
)
SHED_REASONS = ("queue_full", "queue_timeout", "no_replica", "sockets")
EJECTION_REASONS = ("consecutive_failures", "hung", "trial_failed")


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts by one label with a closed set of values; a label of None means a single count."""

    name: str
    help: str
    label: str | None = None
    values: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that each worker sets and readers sum, in units of `1 / scale`."""

    name: str
    help: str
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations in seconds by upper bound. The scoreboard holds counts by bucket and a sum in ns."""

    name: str
    help: str
    bounds: tuple[float, ...]


Family = Counter | Gauge | Histogram

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_BETWEEN_TOKENS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.015,
    0.02,
    0.025,
    0.03,
    0.04,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.5,
    1,
    5,
)
_OWN_TIME = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
_WAIT = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 60, 120, 300)

REQUESTS = Counter(
    "requests", "Requests that named a known model, by the status the client got.", "code", CODES
)
DURATION = Histogram(
    "request_duration_seconds", "From the request's head to the end of its answer.", _LATENCY
)
TTFT = Histogram(
    "time_to_first_token_seconds", "From the request's head to the first byte of the answer.", _LATENCY
)
ITL = Histogram("inter_token_latency_seconds", "Between two arrivals of data in one stream.", _BETWEEN_TOKENS)
QUEUE_WAIT = Histogram("queue_wait_seconds", "Time spent waiting for a replica with room.", _WAIT)
OVERHEAD = Histogram(
    "overhead_seconds", "The gateway's own time before the upstream write, queueing excluded.", _OWN_TIME
)
EXEMPLIFIED = (DURATION, TTFT)
"""The histograms that name a request of each bucket to whoever asks for OpenMetrics."""
RETRIES = Counter(
    "retries", "Requests sent again to another replica before their first byte.", "reason", RETRY_REASONS
)
RESUMED = Counter(
    "resumed_streams", "Streams whose replica failed in the middle.", "outcome", RESUME_OUTCOMES
)
BROKEN = Counter("broken_streams", "Answers that had begun and could not be finished.")
SHED = Counter("shed", "Requests refused because of a limit.", "reason", SHED_REASONS)
DISCONNECTS = Counter("client_disconnects", "Clients that left before their answer ended.")
QUEUE_DEPTH = Gauge("queue_depth", "Requests waiting for a replica with room.")
PROMPT_BYTES = Counter("request_body_bytes", "Bytes of request bodies.")
ANSWER_BYTES = Counter("response_body_bytes", "Bytes of response bodies.")

POOL_FAMILIES: tuple[Family, ...] = (
    *(REQUESTS, DURATION, TTFT, ITL, QUEUE_WAIT, OVERHEAD, RETRIES, RESUMED, BROKEN, SHED, DISCONNECTS),
    *(QUEUE_DEPTH, PROMPT_BYTES, ANSWER_BYTES),
)

OUTSTANDING = Gauge("replica_outstanding", "Requests dispatched to the replica whose answer has not ended.")
DISPATCHED = Counter("replica_requests", "Requests dispatched to the replica.")
FAILURES = Counter("replica_failures", "Connect errors, broken answers and 5xx of the replica.")
EJECTIONS = Counter("replica_ejections", "Times the replica was taken out.", "reason", EJECTION_REASONS)
CONNECTIONS = Gauge("replica_connections", "Open connections to the replica.")

REPLICA_FAMILIES: tuple[Family, ...] = (OUTSTANDING, DISPATCHED, FAILURES, EJECTIONS, CONNECTIONS)

LOOP_LAG = Gauge(
    "event_loop_lag_seconds", "How late the worker's event loop ran its last timer.", 1_000_000_000
)
CLIENTS = Gauge("client_connections", "Open client connections.")
UNROUTED = Counter(
    "unrouted_requests", "Requests that named no known model or route, by status.", "code", CODES
)
RESUME_BUFFER = Gauge("resume_buffer_bytes", "Bytes kept so that streams can be continued elsewhere.")

WORKER_FAMILIES: tuple[Family, ...] = (LOOP_LAG, CLIENTS, UNROUTED, RESUME_BUFFER)
