"""What one instance needs of each device, for every tensor-parallel size it may have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2

from gateway.launch.memory.budget import NOTHING_MEASURED, InstanceBudget, Measured, Shape, instance_budget
from gateway.launch.memory.device import Device, DeviceKind, default_batch
from gateway.launch.memory.lora import LoraSlots, slot_rank
from gateway.launch.memory.model import Task
from gateway.launch.memory.parallel import tensor_parallel_problem
from gateway.launch.memory.quantization import Quantization, read_quantization, stored_somehow
from gateway.launch.memory.terms import UnmodelledError, round_up
from gateway.launch.placement.packing import Choice, Item
from gateway.launch.request import InstanceRequest

_TENSOR_PARALLEL_SIZES = (1, 2, 4, 8, 16)
_SEQUENCES_PER_REQUEST = 4
"""Real requests are shorter than max_model_len: so many may run for each full-length one asked for."""
_FEWEST_SEQUENCES, _MOST_SEQUENCES = 32, 256
_DEFAULT_LORAS, _DEFAULT_RANK = 1, 16

Measurements = Callable[[InstanceRequest, Shape, Device], Measured]
"""What an earlier start of such an instance on such a device reported."""


def no_measurements(_request: InstanceRequest, _shape: Shape, _device: Device) -> Measured:
    """Where nothing has been started yet."""
    return NOTHING_MEASURED


@dataclass(frozen=True, slots=True)
class Option:
    """An instance with one tensor-parallel size."""

    tp: int
    pp: int
    budgets: tuple[InstanceBudget | None, ...]
    """By position of the device; None where it cannot run."""

    @property
    def world(self) -> int:
        """Number of GPUs."""
        return self.tp * self.pp


@dataclass(frozen=True, slots=True)
class Demand:
    """An instance with all its options, fewest GPUs first."""

    request: InstanceRequest
    options: tuple[Option, ...]


def demand_of(request: InstanceRequest, devices: Sequence[Device], measured: Measurements) -> Demand:
    """The options of one instance.

    Raises:
        UnmodelledError: it cannot run on any of the devices; the message says why.
    """
    problems: list[str] = []
    options = []
    for tp in _sizes(request, len(devices)):
        budgets = _budgets(request, tp, devices, measured, problems)
        if any(budget is not None for budget in budgets):
            options.append(Option(tp, request.pipeline_parallel, budgets))
    if not options:
        reason = problems[-1] if problems else "none of the devices may be used for it"
        raise UnmodelledError(f"{request.label}: {reason}")
    return Demand(request, tuple(options))


def _budgets(
    request: InstanceRequest,
    tp: int,
    devices: Sequence[Device],
    measured: Measurements,
    problems: list[str],
) -> tuple[InstanceBudget | None, ...]:
    """One budget per device, computed once for each kind; what is wrong is added to `problems`."""
    known: dict[tuple[str, int, DeviceKind], InstanceBudget | None] = {}
    budgets: list[InstanceBudget | None] = []
    for device in devices:
        kind = (device.name, device.total_bytes, device.kind)
        if not _may_use(request, tp, device):
            budgets.append(None)
            continue
        if kind not in known:
            try:
                known[kind] = _budget(request, tp, device, measured)
            except UnmodelledError as error:
                known[kind] = None
                problems.append(str(error))
        budgets.append(known[kind])
    return tuple(budgets)


def least_kv_bytes(request: InstanceRequest, budget: InstanceBudget) -> int:
    """KV cache per GPU without which the instance does not give what was asked for."""
    if request.kv_cache_bytes is not None:
        return request.kv_cache_bytes if not budget.geometry.is_empty else 0
    wanted = max(1.0, request.concurrency or 1.0)
    return budget.geometry.bytes_for(wanted)


def growth_weight(request: InstanceRequest, budget: InstanceBudget) -> int:
    """The claim on spare memory: the wanted concurrency in bytes; pooling and fixed caches want none."""
    if request.kv_cache_bytes is not None or request.effective_task is Task.POOL:
        return 0
    return least_kv_bytes(request, budget)


def item_of(demand: Demand) -> Item:
    """The demand as the packing search sees it."""
    return Item(tuple(Choice(option.world, _loads(demand.request, option)) for option in demand.options))


def quantization_of(request: InstanceRequest, device: Device) -> Quantization:
    """How the weights are stored; of a method that is not modelled the safetensors headers tell it.

    Raises:
        UnmodelledError: neither tells.
    """
    try:
        return read_quantization(request.config, request.quantization, device.capability)
    except UnmodelledError:
        if request.checkpoint.tensors:
            return stored_somehow(request.config)
        raise


def sequences_of(request: InstanceRequest, device: Device) -> int:
    """The value of --max-num-seqs: as asked, or enough for the wanted concurrency."""
    default = default_batch(device)[1]
    if request.max_num_seqs is not None:
        return request.max_num_seqs
    if request.concurrency is None or request.effective_task is Task.POOL:
        return min(default, _MOST_SEQUENCES)
    wanted = _SEQUENCES_PER_REQUEST * max(1.0, request.concurrency)
    power = 1 << max(0, -int(-log2(wanted) // 1))
    return min(default, max(_FEWEST_SEQUENCES, power))


def _loads(request: InstanceRequest, option: Option) -> tuple[int | None, ...]:
    return tuple(
        None if budget is None else budget.fixed_bytes + least_kv_bytes(request, budget)
        for budget in option.budgets
    )


def _sizes(request: InstanceRequest, devices: int) -> tuple[int, ...]:
    if request.tensor_parallel is not None:
        return (request.tensor_parallel,)
    fitting = (size for size in _TENSOR_PARALLEL_SIZES if size * request.pipeline_parallel <= devices)
    return tuple(size for size in fitting if size == 1 or not tensor_parallel_problem(request.model, size))


def _may_use(request: InstanceRequest, tp: int, device: Device) -> bool:
    if request.gpus is not None and device.index not in request.gpus:
        return False
    return device.kind is DeviceKind.CUDA or tp * request.pipeline_parallel == 1


def _budget(request: InstanceRequest, tp: int, device: Device, measured: Measurements) -> InstanceBudget:
    shape = _shape(request, tp, device)
    return instance_budget(
        request.model,
        quantization_of(request, device),
        shape,
        device,
        request.checkpoint,
        measured(request, shape, device),
    )


def _shape(request: InstanceRequest, tp: int, device: Device) -> Shape:
    sequences = sequences_of(request, device)
    batched = request.max_num_batched_tokens
    return Shape(
        tp=tp,
        pp=request.pipeline_parallel,
        max_model_len=request.max_model_len,
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        kv_cache_dtype=request.kv_cache_dtype,
        dtype=request.dtype,
        enforce_eager=request.enforce_eager,
        lora=lora_slots(request, device.kind),
        task=request.task,
        prefix_caching=_prefix_caching(request.args),
        block_tokens=_block_tokens(request.args),
        version=request.version,
    )


def lora_slots(request: InstanceRequest, kind: DeviceKind) -> LoraSlots | None:
    """The LoRA slots that vLLM will allocate; None without adapters.

    On the CPU one more than adapters: for requests without an adapter vLLM 0.32 reads the last slot there
    (index -1 in `lora/ops/torch_ops`), so their answers are right only while it is empty.
    """
    if not request.adapters and request.max_loras is None:
        return None
    loras = request.max_loras or max(_DEFAULT_LORAS, len(request.adapters))
    if kind is DeviceKind.CPU:
        loras = max(loras, len(request.adapters) + 1)
    return LoraSlots(loras, slot_rank(request.max_lora_rank or _DEFAULT_RANK))


def _prefix_caching(args: Sequence[str]) -> bool | None:
    if "--no-enable-prefix-caching" in args:
        return False
    return True if "--enable-prefix-caching" in args else None


def _block_tokens(args: Sequence[str]) -> int | None:
    for position, argument in enumerate(args):
        name, _, value = argument.partition("=")
        if name == "--block-size":
            text = value or (args[position + 1] if position + 1 < len(args) else "")
            return round_up(int(text), 1) if text.isdigit() else None
    return None
