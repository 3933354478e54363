"""What holds in the end: defaults applied, `auto` resolved. Pure functions of a `Config`."""

from typing import Literal

from gateway.config.models import ModelOptions, Replica
from gateway.config.schema import Config


def effective(config: Config, name: str | None) -> ModelOptions:
    """A model's options, each taken from the model, else from `defaults`, else built in.

    A model that the configuration doesn't have (discovered from its server) gets the defaults.
    """
    model = config.models.get(name) if name is not None else None
    if model is None:
        return config.defaults
    own = model.model_dump(exclude_unset=True, include=set(ModelOptions.model_fields))
    inherited = config.defaults.model_dump(exclude_unset=True)
    for key, value in own.items():
        section = inherited.get(key)
        if isinstance(section, dict) and isinstance(value, dict):
            inherited[key] = {**section, **value}
        else:
            inherited[key] = value
    return ModelOptions.model_validate(inherited)


def replica_key_env(config: Config, name: str | None, replica: Replica) -> str | None:
    """Environment variable that holds a replica's API key: its own, else its model's, else the default."""
    return replica.api_key_env or effective(config, name).api_key_env


def worker_count(workers: int | Literal["auto"], cpus: int) -> int:
    """How many workers to start on a machine with this many CPUs: `auto` leaves one for control."""
    return max(1, cpus - 1) if workers == "auto" else workers
