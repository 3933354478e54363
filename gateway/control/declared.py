"""From the configuration to what the fleet and the workers understand. Pure."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.config import Config, ModelOptions, Replica, Secrets, effective, replica_key_env
from gateway.fleet.observation import DeclaredPool, Observation, Owner, PoolOptions
from gateway.fleet.snapshot import Ejection, Limits, ResumeMode, Retries, Timeouts
from gateway.proxy.settings import Settings

NEVER_S = 1e9
"""A duration longer than any process lives; infinity can't be written in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the configuration says about the fleet.

    `replicas` are observations of servers nobody has looked at yet, in listing order. `fall` is how many
    probes in a row must time out before a replica is unresponsive. `hang_s` None: nobody ever counts as hung.
    """

    pools: tuple[DeclaredPool, ...] = ()
    replicas: tuple[Observation, ...] = ()
    defaults: PoolOptions = field(default_factory=PoolOptions)
    ejection: Ejection = field(default_factory=Ejection)
    retries: Retries = field(default_factory=Retries)
    fall: int = 3
    hang_s: float | None = 120.0


def plan_of(config: Config, secrets: Secrets) -> Plan:
    """The fleet of a configuration. Replicas of models come before those whose model is not known."""
    return Plan(
        pools=tuple(
            DeclaredPool(
                name=name,
                served_name=model.served_name or name,
                aliases=model.aliases,
                options=_options(effective(config, name)),
            )
            for name, model in config.models.items()
        ),
        replicas=tuple(_replicas(config, secrets)),
        defaults=_options(config.defaults),
        ejection=Ejection(
            consecutive_failures=config.ejection.consecutive_failures,
            base_s=config.ejection.base,
            max_s=config.ejection.max,
            panic_threshold=config.ejection.panic_threshold,
            penalty_s=config.ejection.penalty,
        ),
        retries=Retries(
            attempts=config.retries.attempts,
            budget=config.retries.budget,
            min_concurrent=config.retries.min_concurrent,
        ),
        fall=config.health.fall,
        hang_s=config.ejection.hang,
    )


def _replicas(config: Config, secrets: Secrets) -> Iterator[Observation]:
    for name, model in config.models.items():
        for replica in model.replicas:
            yield _unseen(config, secrets, name, replica)
    for replica in config.replicas:
        yield _unseen(config, secrets, None, replica)


def _unseen(config: Config, secrets: Secrets, pool: str | None, replica: Replica) -> Observation:
    variable = replica_key_env(config, pool, replica)
    return Observation(
        url=replica.url,
        owner=Owner.DISCOVERED if pool is None else Owner.DECLARED,
        pool=pool,
        weight=replica.weight,
        authorization=None if variable is None else f"Bearer {secrets.api_keys[variable]}",
    )


def _options(options: ModelOptions) -> PoolOptions:
    return PoolOptions(
        limits=Limits(
            outstanding_per_replica=options.limits.outstanding_per_replica,
            queue=options.limits.queue,
            queue_timeout_s=options.limits.queue_timeout,
        ),
        timeouts=Timeouts(
            connect_s=options.timeouts.connect,
            first_byte_s=options.timeouts.first_byte,
            idle_s=options.timeouts.idle,
            total_s=options.timeouts.total,
        ),
        resume=ResumeMode(options.resume),
        priority_header=options.priority_header,
    )


def remarks_on(config: Config, secrets: Secrets) -> Iterator[str]:
    """What an operator should know about a configuration that is valid, one sentence each."""
    if secrets.api_keys and not secrets.client_keys:
        yield (
            f"the gateway sends its replicas' keys for anybody who reaches {config.listen}: "
            "set client_keys_file or client_keys_env to ask clients for keys too"
        )


def launch_orders(config: Config) -> object:
    """What the servers that `up` starts depend on: equal for configurations that launch the same."""
    launches = {name: (model.launch, model.served_name) for name, model in config.models.items()}
    return launches, config.gpus, config.vllm_command, config.vllm_version, config.launch_dir


def settings_of(config: Config, secrets: Secrets) -> Settings:
    """What workers are told at their start and keep until they are started again.

    Of the clients' keys only digests leave this function: nobody else needs more.
    """
    log = config.access_log
    return Settings(
        body_limit_bytes=config.limits.body,
        body_timeout_s=config.limits.body_timeout,
        header_timeout_s=config.limits.header_timeout,
        header_bytes=config.limits.header_bytes,
        header_count=config.limits.headers,
        connections=config.limits.connections_per_worker,
        keepalive_s=config.keepalive,
        forward_authorization=config.forward_authorization,
        client_keys=tuple(hashlib.sha256(key.encode()).hexdigest() for key in secrets.client_keys),
        extra_routes=config.extra_routes,
        access_log=("-" if log else None) if isinstance(log, bool) else str(log),
        resume_stream_bytes=config.resume.buffer_per_stream,
        resume_worker_bytes=config.resume.buffer_per_worker,
        hang_s=config.ejection.hang or NEVER_S,
        otlp_endpoint=config.tracing.otlp_endpoint,
        trace_sample=config.tracing.sample,
    )
