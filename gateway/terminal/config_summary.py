"""`vllm-gateway check`: a valid configuration in a few lines."""

from collections.abc import Iterator

from gateway.config import Config, Model, Replica
from gateway.terminal.wording import plural


def summary(source: str, config: Config) -> Iterator[str]:
    """What the configuration says, as a person would retell it."""
    yield f"{source} is valid: {plural(len(config.models), 'model')}, {_replicas(config)}."
    yield f"  listens on {config.listen}, admin on {config.admin}, workers: {config.workers}"
    for name, model in config.models.items():
        also = f" (also {', '.join(model.aliases)})" if model.aliases else ""
        yield f"  {name}{also}: {_where(model)}"
    if config.replicas:
        yield f"  to be discovered: {', '.join(map(_replica, config.replicas))}"


def _replicas(config: Config) -> str:
    declared = sum(len(model.replicas) for model in config.models.values())
    launched = sum(model.launch.replicas for model in config.models.values() if model.launch is not None)
    return plural(declared + launched + len(config.replicas), "replica")


def _where(model: Model) -> str:
    places = [_replica(replica) for replica in model.replicas]
    if model.launch is not None:
        places.append(f"{plural(model.launch.replicas, 'replica')} to launch")
    return ", ".join(places)


def _replica(replica: Replica) -> str:
    return replica.url if replica.weight == 1 else f"{replica.url} (weight {replica.weight:g})"
