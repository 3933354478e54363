"""What can be said about one model: its replicas, names, limits, timeouts. Data only.

`ModelOptions` is also the `defaults` section: what is set there holds for every model that doesn't set it.
"""

from typing import Any

from pydantic import ConfigDict, model_validator

from gateway.config.addresses import ReplicaUrl
from gateway.config.launch import Launch
from gateway.config.units import Duration, OptionalDuration, PositiveDuration
from gateway.config.values import (
    Count,
    EnvName,
    HeaderName,
    Items,
    Name,
    NotNegative,
    ResumeMode,
    Section,
    Weight,
)


def _or_just_the_url(schema: dict[str, Any]) -> None:
    section = dict(schema)
    schema.clear()
    url = section["properties"]["url"]
    schema.update(anyOf=[url, section], description=section["description"])


class Replica(Section):
    """One running vLLM server: its URL alone, or a section with `url` and more."""

    model_config = ConfigDict(json_schema_extra=_or_just_the_url)

    url: ReplicaUrl
    """Base URL, without /v1."""
    weight: Weight = 1.0
    """Share of the load relative to the pool's other replicas: 2 gets twice as many requests as 1."""
    api_key_env: EnvName | None = None
    """Name of the environment variable that holds this replica's API key."""

    @model_validator(mode="before")
    @classmethod
    def _from_just_the_url(cls, data: object) -> object:
        return {"url": data} if isinstance(data, str) else data


class PoolLimits(Section):
    """How much a pool takes before requests wait, and before they are shed."""

    outstanding_per_replica: Count | None = None
    """Requests on one replica at a time, over all workers; more wait in the queue. Nothing: no cap."""
    queue: NotNegative = 1000
    """Requests that may wait for the pool in one gateway; more are shed with 429 or 503."""
    queue_timeout: Duration = 30.0
    """Longest wait in the queue, in seconds; then 503."""


class Timeouts(Section):
    """How long each phase of a request may take, in seconds."""

    connect: PositiveDuration = 5.0
    """To open a connection to a replica."""
    first_byte: PositiveDuration = 600.0
    """From dispatch to the first byte of the answer's body: vLLM sends headers before it schedules."""
    idle: PositiveDuration = 120.0
    """Between two pieces of an answer that has begun."""
    total: OptionalDuration = None
    """For the whole request, retries and queue included; off by default, since long answers are normal."""


class ModelOptions(Section):
    """Options a model has and may inherit from the `defaults` section."""

    limits: PoolLimits = PoolLimits()
    """Admission: cap per replica and queue."""
    timeouts: Timeouts = Timeouts()
    """Timeouts per phase."""
    resume: ResumeMode = "exact"
    """How a broken stream goes on elsewhere: exact (from token ids), text (from the text so far), or off."""
    priority_header: HeaderName | None = None
    """Header by which clients may set their priority in the queue. Nothing: only the body's `priority`."""
    api_key_env: EnvName | None = None
    """Name of the environment variable with the API key for replicas that don't name their own."""


class Model(ModelOptions):
    """One model: where it runs, what it is called, and how it is treated."""

    replicas: Items[Replica] = ()
    """Running servers that serve this model."""
    aliases: Items[Name] = ()
    """Further names clients may use for it."""
    served_name: Name | None = None
    """What the replicas themselves call it; by default the name of this section."""
    launch: Launch | None = None
    """How `up` starts servers for it. May stand beside `replicas`: all form one pool."""
