"""The memory budget of one vLLM instance on each of its GPUs, every term with its origin.

Puts weights, LoRA slots, KV geometry and overhead together. What vLLM calls the budget (`utilisation x
total`) is weights + LoRA + activation + graphs + inside + KV; the context lies outside it but uses the same
card.
"""

from dataclasses import dataclass, field, replace

from gateway.launch.memory.attention import DTYPE_BYTES, CacheFormat, resolve_kv_dtype
from gateway.launch.memory.device import Device, DeviceKind, default_batch
from gateway.launch.memory.geometry import CacheGeometry, CacheRequest, cache_geometry
from gateway.launch.memory.lora import LoraSlots, lora_bytes
from gateway.launch.memory.model import LatentAttention, Model, Reach, Task
from gateway.launch.memory.overhead import (
    RunShape,
    activation_bytes,
    context_bytes,
    graph_bytes,
    inside_bytes,
)
from gateway.launch.memory.parallel import tensor_parallel_problem
from gateway.launch.memory.quantization import Quantization
from gateway.launch.memory.tensors import UNKNOWN_CHECKPOINT, Checkpoint
from gateway.launch.memory.terms import GIB, Origin, Term, UnmodelledError, total_bytes
from gateway.launch.memory.versions import CURRENT, Version
from gateway.launch.memory.weights import Split, weights_term

_HOPPER = 9
_BLACKWELL_SERVERS = (10, 11)
_BLACKWELL_WORKSTATION = 12


@dataclass(frozen=True, slots=True)
class Measured:
    """What an earlier start of the same instance reported, per GPU; None: not seen in the log."""

    weights_bytes: int | None = None
    activation_bytes: int | None = None
    graph_bytes: int | None = None
    inside_bytes: int | None = None
    context_bytes: int | None = None
    lacking_bytes: int = 0
    """What a start that failed would have needed on top of its plan."""


NOTHING_MEASURED = Measured()


@dataclass(frozen=True, slots=True)
class Shape:
    """The options of an instance that its memory depends on."""

    tp: int = 1
    pp: int = 1
    max_model_len: int | None = None
    """Tokens; None: the model's own maximum."""
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    enforce_eager: bool = False
    lora: LoraSlots | None = None
    task: Task | None = None
    """None: what the architecture is made for."""
    prefix_caching: bool | None = None
    block_tokens: int | None = None
    version: Version = CURRENT


@dataclass(frozen=True, slots=True)
class InstanceBudget:
    """Bytes per GPU of one instance, without the KV cache, and the arithmetic to size that."""

    shape: Shape
    weights: Term
    lora: Term
    activation: Term
    graphs: Term
    inside: Term
    context: Term
    geometry: CacheGeometry
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    warnings: tuple[str, ...] = field(default=())

    @property
    def budget_bytes(self) -> int:
        """What the instance needs of vLLM's own budget, before any KV cache."""
        return total_bytes((self.weights, self.lora, self.activation, self.graphs, self.inside))

    @property
    def fixed_bytes(self) -> int:
        """What the instance takes from the card, before any KV cache."""
        return self.budget_bytes + self.context.size_bytes

    @property
    def least_kv_bytes(self) -> int:
        """KV cache for one request of full length: below it vLLM refuses to start."""
        return self.geometry.bytes_for(1)


def instance_budget(
    model: Model,
    quantization: Quantization | None,
    shape: Shape,
    device: Device,
    checkpoint: Checkpoint = UNKNOWN_CHECKPOINT,
    measured: Measured = NOTHING_MEASURED,
) -> InstanceBudget:
    """The budget of one instance on each of its GPUs.

    Args:
        model: what the model holds.
        quantization: how the weights are stored; None if only the safetensors headers tell.
        shape: the instance's options.
        device: one of its GPUs; all ranks are alike.
        checkpoint: the weight files, as far as they are known.
        measured: what an earlier start reported.

    Raises:
        UnmodelledError: the model cannot be divided that way, or something has no model here.
    """
    if problem := tensor_parallel_problem(model, shape.tp):
        raise UnmodelledError(problem)
    if quantization is None and not checkpoint.tensors:
        raise UnmodelledError("neither config.json nor safetensors headers tell how the weights are stored")
    run, length = _run_shape(model, shape, device)
    dtype_bytes = DTYPE_BYTES.get(shape.dtype, 2)
    split = Split(shape.tp, shape.pp, device.capability, dtype_bytes, pools=run.task is Task.POOL)
    geometry = cache_geometry(model, _cache_request(model, quantization, shape, device, run, length))
    lora = lora_bytes(model, shape.lora, shape.tp, dtype_bytes) if shape.lora else 0
    context = _measured(measured.context_bytes, Term(context_bytes(run), Origin.FITTED))
    return InstanceBudget(
        shape=shape,
        weights=_measured(measured.weights_bytes, weights_term(model, quantization, split, checkpoint), lora),
        lora=Term(lora, Origin.CONFIG),
        activation=_measured(measured.activation_bytes, Term(activation_bytes(model, run), Origin.FITTED)),
        graphs=_measured(measured.graph_bytes, Term(graph_bytes(model, run), Origin.FITTED)),
        inside=_measured(measured.inside_bytes, Term(inside_bytes(run), Origin.FITTED)),
        context=replace(context, size_bytes=context.size_bytes + measured.lacking_bytes),
        geometry=geometry,
        max_model_len=length,
        max_num_seqs=run.max_num_seqs,
        max_num_batched_tokens=run.max_num_batched_tokens,
        warnings=_warnings(model, quantization, shape, device, length) + _shortage(measured.lacking_bytes),
    )


def _run_shape(model: Model, shape: Shape, device: Device) -> tuple[RunShape, int]:
    batched, sequences = default_batch(device)
    length = shape.max_model_len or model.max_positions
    task = shape.task or model.task
    sequences = shape.max_num_seqs or sequences
    batched = shape.max_num_batched_tokens or max(batched, sequences)
    if task is Task.POOL or shape.version.profiles_whole_context:
        batched = max(batched, length)
    run = RunShape(
        tp=shape.tp,
        pp=shape.pp,
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        version=shape.version,
        kind=device.kind,
        enforce_eager=shape.enforce_eager,
        task=task,
    )
    return run, length


def _cache_request(
    model: Model,
    quantization: Quantization | None,
    shape: Shape,
    device: Device,
    run: RunShape,
    length: int,
) -> CacheRequest:
    block = shape.block_tokens or default_block_tokens(model, device)
    chunked = any(getattr(mixer, "reach", None) is Reach.CHUNKED for mixer in model.mixers)
    return CacheRequest(
        fmt=CacheFormat(
            tp=shape.tp,
            kv_dtype=_kv_dtype(model, quantization, shape, device),
            block_tokens=block,
            model_dtype=model.dtype if shape.dtype == "auto" else shape.dtype,
            plain_latents=(device.capability or 0) // 10 in _BLACKWELL_SERVERS,
            wide_states=device.kind is DeviceKind.CPU,
        ),
        pp=shape.pp,
        max_model_len=length,
        max_num_batched_tokens=run.max_num_batched_tokens,
        version=shape.version,
        prefix_caching=shape.prefix_caching,
        hybrid_manager=not chunked or shape.version.frees_chunks,
        schedules_ahead=device.kind is not DeviceKind.CPU,
        capability=device.capability if device.kind is DeviceKind.CUDA else 0,
    )


def _kv_dtype(model: Model, quantization: Quantization | None, shape: Shape, device: Device) -> str:
    """The cache's number type; sparse latent attention has defaults of its own on Blackwell."""
    asked = resolve_kv_dtype(shape.kv_cache_dtype, quantization)
    sparse = any(getattr(mixer, "indexer", None) is not None for mixer in model.mixers)
    if asked != "auto" or not sparse:
        return asked
    generation = (device.capability or 0) // 10
    if generation == _BLACKWELL_WORKSTATION:
        return "fp8_ds_mla"
    glm = model.model_type == "glm_moe_dsa" and shape.version.quantises_glm_cache
    return "fp8" if glm and generation == _BLACKWELL_SERVERS[0] else asked


def default_block_tokens(model: Model, device: Device) -> int:
    """Tokens per block that vLLM picks: 16; on the CPU 128; for latent attention what its kernels want."""
    latent = next((m for m in model.mixers if isinstance(m, LatentAttention) and not m.expanded), None)
    if device.kind is DeviceKind.CPU:
        return 16 if latent is not None else 128
    if latent is None:
        return 16
    generation = (device.capability or 90) // 10
    if latent.indexer is not None or generation == _HOPPER:
        return 64
    return 128 if generation in _BLACKWELL_SERVERS else 16


def _measured(size: int | None, otherwise: Term, minus: int = 0) -> Term:
    return otherwise if size is None else Term(max(0, size - minus), Origin.MEASURED)


def _shortage(lacking_bytes: int) -> tuple[str, ...]:
    if not lacking_bytes:
        return ()
    return (f"an earlier start lacked {lacking_bytes / GIB:.2f} GiB, which are set aside for it now",)


def _warnings(
    model: Model, quantization: Quantization | None, shape: Shape, device: Device, length: int
) -> tuple[str, ...]:
    found = list(model.notes)
    if quantization is not None and quantization.needs_bitsandbytes and not shape.version.has_bitsandbytes:
        found.append(
            "vLLM has no bitsandbytes since 0.29: it needs an older one, or AWQ, GPTQ or FP8 weights"
        )
    most = max(model.max_positions, model.most_positions)
    if length > most:
        found.append(
            f"max_model_len {length} is more than the model's {most}: vLLM refuses it unless "
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 is set"
        )
    if device.kind is DeviceKind.CUDA and device.capability is None:
        found.append(
            f"GPU {device.name!r} is unknown, so kernels that pad weights were assumed to be the usual ones"
        )
    if shape.pp > 1:
        found.append("pipeline stages differ in size; the numbers are those of the fullest one")
    return tuple(found)
