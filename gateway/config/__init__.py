"""The configuration: what can be set, what holds when it isn't, and how a file becomes it.

Owns the one list of options and defaults. Must never do anything: no sockets, no processes, no clock.
"""

from gateway.config.addresses import Address
from gateway.config.credentials import Secrets, resolve_secrets
from gateway.config.effective import effective, replica_key_env, worker_count
from gateway.config.errors import ConfigError, Problem
from gateway.config.launch import Gpu, Launch
from gateway.config.loading import from_urls, load, parse
from gateway.config.models import Model, ModelOptions, PoolLimits, Replica, Timeouts
from gateway.config.schema import (
    Config,
    Ejection,
    Health,
    ResumeBuffers,
    Retries,
    ServerLimits,
    Tracing,
    json_schema,
)

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "Ejection",
    "Gpu",
    "Health",
    "Launch",
    "Model",
    "ModelOptions",
    "PoolLimits",
    "Problem",
    "Replica",
    "ResumeBuffers",
    "Retries",
    "Secrets",
    "ServerLimits",
    "Timeouts",
    "Tracing",
    "effective",
    "from_urls",
    "json_schema",
    "load",
    "parse",
    "replica_key_env",
    "resolve_secrets",
    "worker_count",
]
