"""From the configuration to a plan: reads the models' files, lists the devices, asks the planner.

The seam between the configuration's schema and the pure planner; `vllm-gateway plan` and `up` call it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gateway.config.launch import Gpu, Launch
from gateway.config.schema import Config
from gateway.launch.calibration import Calibration
from gateway.launch.checkpoint import CheckpointError, find_model, read_adapter, read_model_files
from gateway.launch.installed import installed_version
from gateway.launch.inventory import GpuLibrary, list_gpus
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.model import Task
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import UnmodelledError
from gateway.launch.memory.versions import CURRENT, Version, parse_version
from gateway.launch.placement.advice import place_or_advise
from gateway.launch.plan import Plan
from gateway.launch.request import InstanceRequest

_MOST_SLOTS = 4
"""LoRA slots where the configuration names none: one per adapter up to this."""
_TASKS: Mapping[str, Task | None] = {"auto": None, "generate": Task.GENERATE, "embed": Task.POOL}


class PlanningError(ValueError):
    """The configuration cannot be planned; the message is one sentence that begins with the model's name."""


def plan_config(
    config: Config,
    devices: Sequence[Device],
    calibration: Calibration,
    environ: Mapping[str, str],
) -> Plan:
    """A plan for every model of the configuration that has a `launch` section.

    Raises:
        PlanningError: a model's files are missing, or something about it is not modelled.
        NoFitError: they do not fit on the devices.
    """
    requests = requests_of(config, environ, calibration)
    try:
        return place_or_advise(requests, devices, calibration)
    except UnmodelledError as error:
        raise PlanningError(str(error)) from None


def devices_of(config: Config, library: GpuLibrary, environ: Mapping[str, str]) -> tuple[Device, ...]:
    """The devices of the configuration, or else the machine's.

    Raises:
        InventoryError: none are configured and the machine's cannot be listed.
    """
    if config.gpus is not None:
        return tuple(_device(index, gpu) for index, gpu in enumerate(config.gpus))
    return list_gpus(library, environ)


def requests_of(
    config: Config, environ: Mapping[str, str], calibration: Calibration
) -> tuple[InstanceRequest, ...]:
    """One request per replica to launch.

    Raises:
        PlanningError: nothing is to be launched, or a model's files are missing or not modelled.
    """
    check_launches(config)
    requests: list[InstanceRequest] = []
    said = parse_version(config.vllm_version or "")
    installed = said or installed_version(config.vllm_command, environ)
    for name, model in config.models.items():
        if model.launch is None:
            continue
        try:
            version = installed or _known_version(name, calibration)
            requests.extend(from_config(name, model.launch, model.served_name, environ, version))
        except (CheckpointError, UnmodelledError) as error:
            raise PlanningError(f"{name}: {error}") from None
    return tuple(requests)


def check_launches(config: Config) -> None:
    """Refuse a configuration that launches nothing, before anybody looks for devices.

    Raises:
        PlanningError: no model has a `launch` section.
    """
    if all(model.launch is None for model in config.models.values()):
        raise PlanningError("no model has a `launch` section, so there is nothing to plan")


def from_config(
    name: str,
    launch: Launch,
    served_name: str | None,
    environ: Mapping[str, str],
    version: Version = CURRENT,
) -> Iterator[InstanceRequest]:
    """The replicas of one model.

    Raises:
        CheckpointError: its files or an adapter's are missing or broken.
        UnmodelledError: the model cannot be planned.
    """
    files = read_model_files(launch.model, environ)
    model = read_model(files.config)
    adapters = {adapter: _find_adapter(adapter, path, environ) for adapter, path in launch.adapters.items()}
    for replica in range(launch.replicas):
        yield InstanceRequest(
            name=name,
            source=_source(launch.model),
            model=model,
            config=files.config,
            checkpoint=files.checkpoint,
            replica=replica,
            tensor_parallel=None if launch.tensor_parallel == "auto" else launch.tensor_parallel,
            pipeline_parallel=launch.pipeline_parallel,
            max_model_len=launch.max_model_len,
            concurrency=launch.concurrency,
            kv_cache_bytes=launch.kv_cache,
            max_num_seqs=launch.max_num_seqs,
            max_num_batched_tokens=launch.max_num_batched_tokens,
            kv_cache_dtype=launch.kv_cache_dtype,
            dtype=launch.dtype,
            quantization=launch.quantization,
            enforce_eager=launch.enforce_eager,
            adapters=adapters,
            max_loras=launch.max_loras or (min(len(adapters), _MOST_SLOTS) or None),
            max_lora_rank=launch.max_lora_rank or _largest_rank(adapters, environ),
            task=Task.POOL if launch.task == "auto" and files.pools else _TASKS[launch.task],
            gpus=launch.gpus,
            priority=launch.priority,
            port=None if launch.port is None else launch.port + replica,
            args=tuple(launch.args),
            env=dict(launch.env),
            version=version,
            served_name=served_name,
        )


def _find_adapter(name: str, path: str, environ: Mapping[str, str]) -> str:
    try:
        return str(find_model(path, environ))
    except CheckpointError as error:
        raise CheckpointError(f"adapter {name}: {error}") from None


def _largest_rank(adapters: Mapping[str, str], environ: Mapping[str, str]) -> int | None:
    return max((read_adapter(path, environ).rank for path in adapters.values()), default=None)


def _source(model: str) -> str:
    """A folder with its whole path, since servers run elsewhere; an id as it is."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def _known_version(name: str, calibration: Calibration) -> Version:
    """The version that started this model last time, or any model; else the newest known."""
    versions = [
        (record.model == name, parsed)
        for record in calibration.records
        if record.version is not None and (parsed := parse_version(record.version)) is not None
    ]
    return max(versions)[1] if versions else CURRENT


def _device(index: int, gpu: Gpu) -> Device:
    return Device(index, gpu.name, gpu.memory, DeviceKind(gpu.kind))
