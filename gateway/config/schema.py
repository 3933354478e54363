"""The root of the configuration: the one list of what can be set, and of what holds when it isn't.

Frozen, unknown keys are errors. Holds data and does nothing: no files, no sockets, no environment.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gateway.config.addresses import Address, EndpointUrl, ListenAddress
from gateway.config.launch import Gpu
from gateway.config.models import Model, ModelOptions, Replica
from gateway.config.units import Duration, OptionalDuration, PositiveDuration, PositiveSize, Size
from gateway.config.values import (
    AccessLog,
    AutoOrCount,
    Command,
    Count,
    Entries,
    EnvName,
    FilePath,
    Fraction,
    Items,
    Name,
    NotNegative,
    Route,
    Section,
    Switch,
    Version,
)


class ServerLimits(Section):
    """What one client may ask of the public listener."""

    body: PositiveSize = 64 * 2**20
    """Largest request body, in bytes; more is 413."""
    body_timeout: PositiveDuration = 60.0
    """Longest time for a request's body to arrive, in seconds."""
    header_timeout: PositiveDuration = 30.0
    """Longest time for a request's head to arrive, in seconds."""
    header_bytes: PositiveSize = 32 * 2**10
    """Largest single header field, in bytes."""
    headers: Count = 128
    """Most header fields in one request."""
    connections_per_worker: Count = 16_384
    """Most client connections of one worker at a time."""


class Health(Section):
    """Active probes: how control finds out who is well and what each replica serves."""

    interval: PositiveDuration = 2.0
    """Between two probes of one replica, in seconds."""
    timeout: PositiveDuration = 10.0
    """Until a probe counts as timed out, in seconds. Generous: a saturated vLLM answers late."""
    fall: Count = 3
    """Timeouts in a row that take a replica out. A refusal or a 5xx takes it out at once."""
    path: Route = "/health"
    """Path of the probe, below the replica's URL."""
    models_interval: PositiveDuration = 30.0
    """Between two reads of a replica's /v1/models (names, adapters), in seconds."""
    metrics_interval: PositiveDuration = 2.0
    """Between two reads of a replica's /metrics (running, waiting, KV use), in seconds."""


class Ejection(Section):
    """Passive health: when a replica is left out because requests to it fail, and for how long."""

    consecutive_failures: Count = 5
    """Connect failures or 5xx in a row that eject a replica. 4xx never count."""
    base: PositiveDuration = 30.0
    """Length of the first ejection, in seconds; the n-th lasts n times as long."""
    max: PositiveDuration = 300.0
    """Longest ejection, in seconds."""
    panic_threshold: Fraction = 0.5
    """Share of usable replicas under which ejections are ignored, 0 to 1."""
    penalty: Duration = 5.0
    """How long a replica counts as busier after a failure, in seconds: failing fast must not attract."""
    hang: OptionalDuration = 120.0
    """How long an engine may have requests and move nothing until it counts as hung, in seconds, or off."""


class Retries(Section):
    """Failover before the first byte."""

    attempts: NotNegative = 2
    """Further replicas to try after the first."""
    budget: Fraction = 0.2
    """Share of running requests that may be retries at a time, 0 to 1: a dying pool must not be hammered."""
    min_concurrent: NotNegative = 3
    """Retries always allowed at a time, whatever the budget."""


class ResumeBuffers(Section):
    """What may be kept so that a stream can go on elsewhere. Beyond it a stream just isn't resumable."""

    buffer_per_stream: Size = 256 * 2**10
    """Per stream, in bytes."""
    buffer_per_worker: Size = 64 * 2**20
    """For all streams of one worker, in bytes."""


class Tracing(Section):
    """OpenTelemetry traces."""

    otlp_endpoint: EndpointUrl | None = None
    """URL of an OTLP/HTTP collector. Nothing: no traces."""
    sample: Fraction = 1.0
    """Share of requests traced when the client's own trace context doesn't decide, 0 to 1."""


class Config(Section):
    """Everything that can be set."""

    listen: ListenAddress = Address("127.0.0.1", 8000)
    """Public listener: inference routes, /v1/models, /health."""
    admin: ListenAddress = Address("127.0.0.1", 9090)
    """Admin listener: /metrics, status page, /api. Away from loopback it needs a token."""
    admin_token_env: EnvName | None = None
    """Name of the environment variable that holds the admin token."""
    admin_token_file: FilePath | None = None
    """File that holds the admin token; relative to the configuration file's folder."""
    client_keys_env: EnvName | None = None
    """Name of the environment variable that holds the keys clients must present, separated by commas."""
    client_keys_file: FilePath | None = None
    """File with the keys clients must present, one a line, # for comments; without keys everybody may ask."""
    workers: AutoOrCount = "auto"
    """Worker processes that relay; auto: one less than the CPUs, at least 1."""
    replicas: Items[Replica] = ()
    """Servers whose models are not known beforehand: what each lists under /v1/models joins a pool."""
    models: Entries[Name, Model] = Field(default_factory=dict)
    """Models by name, as clients write it."""
    defaults: ModelOptions = ModelOptions()
    """Options that every model has unless it sets its own, discovered ones too."""
    limits: ServerLimits = ServerLimits()
    """Limits on requests and connections of the public listener."""
    keepalive: PositiveDuration = 75.0
    """How long an idle client connection is kept, in seconds."""
    shutdown_grace: Duration = 60.0
    """How long running requests may go on after SIGTERM, in seconds."""
    access_log: AccessLog = False
    """One JSON line per request: true for standard output, or a file (see launch_dir for relative paths)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least serious messages to log."""
    forward_authorization: Switch = False
    """Send the client's Authorization header to replicas that have no key of their own."""
    extra_routes: Items[Route] = ()
    """Further inference routes outside /v1/ to let through, by exact path."""
    health: Health = Health()
    """Active probes."""
    ejection: Ejection = Ejection()
    """Passive removal after failures."""
    retries: Retries = Retries()
    """How often another replica is tried before the first byte."""
    resume: ResumeBuffers = ResumeBuffers()
    """Memory for resuming streams; whether to resume is said per model."""
    tracing: Tracing = Tracing()
    """Where OpenTelemetry traces go."""
    gpus: Items[Gpu] | None = None
    """Devices to plan for. Nothing: what the machine has."""
    vllm_command: Command = ("vllm",)
    """Command that runs vLLM: a list of words, or one string split as a shell would."""
    vllm_version: Version | None = None
    """Its version, in quotes. Nothing: told from the command's own environment; a container can't be looked
    into."""
    launch_dir: FilePath = Path(".vllm-gateway")
    """Folder for launched servers' logs and calibration; relative to the configuration file's folder."""


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration file, for editors that complete and check YAML."""
    schema = Config.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "vllm-gateway configuration",
    }
