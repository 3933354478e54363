"""Checks between options: what is right by itself but not beside another. Each names both places. Pure.

Every check takes the whole configuration and yields findings; `CHECKS` is the list.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.config.errors import KeyPath, shown
from gateway.config.launch import Launch
from gateway.config.models import Replica
from gateway.config.schema import Config


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction: where it shows, what it is, and the other place it comes from.

    `depends_on` are the keys whose absence it rests on (the empty path: any key). When one of these is in the
    file but was refused for another reason, the finding says nothing new.
    """

    path: KeyPath
    message: str
    hint: str = ""
    other: KeyPath | None = None
    depends_on: tuple[KeyPath, ...] = ()


def crosscheck(config: Config) -> list[Finding]:
    """All findings of all checks."""
    return [finding for check in CHECKS for finding in check(config)]


# -- listeners --


def _something_to_serve(config: Config) -> Iterator[Finding]:
    if not config.replicas and not config.models:
        hint = "list servers under replicas, or models under models"
        yield Finding((), "there is nothing to serve", hint, depends_on=((),))


def _listeners_apart(config: Config) -> Iterator[Finding]:
    if config.admin.clashes_with(config.listen):
        message = f"{shown(str(config.admin))} can't be listened on beside {shown(str(config.listen))}"
        yield Finding(("admin",), message, "choose another port", other=("listen",))


def _admin_token(config: Config) -> Iterator[Finding]:
    env, file = ("admin_token_env",), ("admin_token_file",)
    if config.admin_token_env is not None and config.admin_token_file is not None:
        yield Finding(file, "can't be given together with another token", "keep one", other=env)
    if config.admin.is_loopback or config.admin_token_env is not None or config.admin_token_file is not None:
        return
    message = f"{shown(str(config.admin))} can be reached from other machines and has no token"
    yield Finding(("admin",), message, "set admin_token_env or admin_token_file", depends_on=(env, file))


def _client_keys_from_one_place(config: Config) -> Iterator[Finding]:
    if config.client_keys_env is not None and config.client_keys_file is not None:
        message = "can't be given together with keys from the environment"
        yield Finding(("client_keys_file",), message, "keep one", other=("client_keys_env",))


# -- names and replicas --


def _names_once(config: Config) -> Iterator[Finding]:
    owners: dict[str, KeyPath] = {name: ("models", name) for name in config.models}
    for name, path in _further_names(config):
        owner = owners.setdefault(name, path)
        if owner != path:
            yield Finding(
                path, f"the name {shown(name)} is already taken", "choose another name", other=owner
            )


def _further_names(config: Config) -> Iterator[tuple[str, KeyPath]]:
    for model_name, model in config.models.items():
        for index, alias in enumerate(model.aliases):
            yield alias, ("models", model_name, "aliases", index)
        for adapter in model.launch.adapters if model.launch else ():
            yield adapter, ("models", model_name, "launch", "adapters", adapter)


def _replicas_once(config: Config) -> Iterator[Finding]:
    owners: dict[str, KeyPath] = {}
    for replica, path in _all_replicas(config):
        owner = owners.setdefault(replica.url, path)
        if owner != path:
            yield Finding(
                path, f"{shown(replica.url)} is already listed", "list each server once", other=owner
            )


def _all_replicas(config: Config) -> Iterator[tuple[Replica, KeyPath]]:
    for name, model in config.models.items():
        for index, replica in enumerate(model.replicas):
            yield replica, ("models", name, "replicas", index)
    for index, replica in enumerate(config.replicas):
        yield replica, ("replicas", index)


def _models_run_somewhere(config: Config) -> Iterator[Finding]:
    for name, model in config.models.items():
        if not model.replicas and model.launch is None:
            path: KeyPath = ("models", name)
            inside: tuple[KeyPath, ...] = ((*path, "replicas"), (*path, "launch"))
            yield Finding(
                path, "has neither replicas nor launch", "list its servers' URLs", depends_on=inside
            )


# -- launch --


def _one_cache_size(config: Config) -> Iterator[Finding]:
    for launch, path in _launches(config):
        if launch.kv_cache is not None and launch.concurrency is not None:
            message = "can't be given together with concurrency, which also sets the size"
            yield Finding((*path, "kv_cache"), message, "keep one", other=(*path, "concurrency"))


def _enough_gpus(config: Config) -> Iterator[Finding]:
    for launch, path in _launches(config):
        pinned: KeyPath = (*path, "gpus")
        listed = len(config.gpus) if config.gpus is not None else None
        for index, gpu in enumerate(launch.gpus or ()):
            if listed is not None and gpu >= listed:
                hint = "GPUs are counted from 0"
                yield Finding((*pinned, index), f"GPU {gpu} is not listed", hint, other=("gpus",))
            if gpu in (launch.gpus or ())[:index]:
                yield Finding(
                    (*pinned, index), f"GPU {gpu} is listed twice", "list each GPU once", other=pinned
                )
        tensor_parallel = 1 if launch.tensor_parallel == "auto" else launch.tensor_parallel
        needed = tensor_parallel * launch.pipeline_parallel
        available, place = (len(launch.gpus), pinned) if launch.gpus is not None else (listed, ("gpus",))
        if available is not None and needed > available:
            split = "tensor_parallel" if tensor_parallel > 1 else "pipeline_parallel"
            message = (
                f"one server needs {needed} GPUs (tensor_parallel x pipeline_parallel) of {available} listed"
            )
            yield Finding((*path, split), message, other=place, depends_on=(place,))


def _ports_apart(config: Config) -> Iterator[Finding]:
    owners: dict[int, KeyPath] = {config.listen.port: ("listen",), config.admin.port: ("admin",)}
    for launch, path in _launches(config):
        if launch.port is None:
            continue
        place = (*path, "port")
        ports = range(launch.port, launch.port + launch.replicas)
        if ports[-1] > 65_535:  # noqa: PLR2004  (the largest port there is)
            message = f"{launch.replicas} servers from port {launch.port} on go past 65535"
            yield Finding(place, message, other=(*path, "replicas"))
        taken = next((port for port in ports if port in owners), None)
        if taken is not None:
            yield Finding(place, f"port {taken} is already taken", "choose another port", other=owners[taken])
        owners.update(dict.fromkeys(ports, place))


def _launches(config: Config) -> Iterator[tuple[Launch, KeyPath]]:
    for name, model in config.models.items():
        if model.launch is not None:
            yield model.launch, ("models", name, "launch")


# -- limits --


def _limits_in_order(config: Config) -> Iterator[Finding]:
    ejection, resume = config.ejection, config.resume
    if ejection.base > ejection.max:
        message = f"{ejection.base:g}s is longer than the longest ejection, {ejection.max:g}s"
        yield Finding(("ejection", "base"), message, other=("ejection", "max"))
    if resume.buffer_per_stream > resume.buffer_per_worker:
        message = "one stream's buffer is larger than the buffer of all streams"
        yield Finding(("resume", "buffer_per_stream"), message, other=("resume", "buffer_per_worker"))


CHECKS: tuple[Callable[[Config], Iterable[Finding]], ...] = (
    _something_to_serve,
    _listeners_apart,
    _admin_token,
    _client_keys_from_one_place,
    _names_once,
    _replicas_once,
    _models_run_somewhere,
    _one_cache_size,
    _enough_gpus,
    _ports_apart,
    _limits_in_order,
)
