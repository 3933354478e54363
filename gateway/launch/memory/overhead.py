"""Everything that is neither weights nor KV cache: activation peak, CUDA graphs, contexts, communication.

These are constants fitted to published start-up logs (0.10 to 0.29), chosen on the careful side; the first
real start replaces them by measured numbers.
"""

from dataclasses import dataclass

from gateway.launch.memory.device import DeviceKind
from gateway.launch.memory.model import Experts, LatentAttention, Mlp, Model, Recurrent, Task
from gateway.launch.memory.terms import GIB, MIB, ceil_div
from gateway.launch.memory.versions import Version

_SAMPLER_NATIVE = 38.4
"""Bytes per logit of PyTorch-native top-k/top-p: logits twice, sort values, indices, workspace."""
_SAMPLER_LEAN = 8.0
"""Bytes per logit of the second model runner (0.27+): 6 fits the few rows there are, 8 leaves room."""
_ENCODER_TOKENS = 16384
"""Embeddings that vLLM profiles for models whose image size is open (Qwen-VL's largest image)."""
_POOL_ACTIVATION = 150 * MIB
_GRAPH_LAYER = 20 * MIB
_GRAPH_BASE = 50 * MIB
_FULL_CAPTURE = 51
"""Graph sizes up to 512: what the fit is relative to."""
_CPU_PROCESSES = int(1.3 * GIB)
"""API server, engine and worker with their libraries: measured on vLLM 0.32 for CPU."""


@dataclass(frozen=True, slots=True)
class RunShape:
    """How an instance runs, as far as its overhead goes."""

    tp: int
    pp: int
    max_num_seqs: int
    max_num_batched_tokens: int
    version: Version
    kind: DeviceKind
    enforce_eager: bool
    task: Task


def activation_bytes(model: Model, run: RunShape) -> int:
    """Peak of a profile run: the largest of encoder, forward pass and sampler, per rank."""
    forward = _forward(model, run)
    if run.task is Task.POOL:
        return forward + _POOL_ACTIVATION
    rows = min(run.max_num_seqs, run.max_num_batched_tokens)
    per_logit = _SAMPLER_LEAN if run.version.lean_sampler or run.kind is DeviceKind.CPU else _SAMPLER_NATIVE
    sampler = int(rows * model.vocab * per_logit)
    return max(_encoder(model, run), forward, sampler)


def graph_bytes(model: Model, run: RunShape) -> int:
    """CUDA graphs of all captured batch sizes, per rank; none when eager, on the CPU and for encoders."""
    if run.enforce_eager or run.kind is DeviceKind.CPU or run.task is Task.POOL:
        return 0
    experts = any(isinstance(layer.ffn, Experts) for layer in model.layers)
    layers = ceil_div(len(model.layers), run.pp)
    factor = (1.5 if experts else 1.0) * {1: 1.0, 2: 1.5}.get(run.tp, 2.5)
    share = max(0.1, capture_sizes(run) / _FULL_CAPTURE)
    return int(_GRAPH_BASE + layers * _GRAPH_LAYER * factor * share)


def capture_sizes(run: RunShape) -> int:
    """How many batch sizes are captured: 1, 2, 4, steps of 8 to 256 and of 16 above (`config/vllm.py`)."""
    largest = min(2 * run.max_num_seqs, 512, run.max_num_batched_tokens)
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)]
    return sum(size <= largest for size in sizes)


def inside_bytes(run: RunShape) -> int:
    """Memory outside PyTorch that vLLM charges to the instance's budget."""
    if run.kind is DeviceKind.CPU:
        return 0
    if run.tp * run.pp > 1:
        return GIB
    return GIB // 2 if run.version.lean_sampler else 200 * MIB


def context_bytes(run: RunShape) -> int:
    """Memory outside the budget: the CUDA context (0.23 to 0.55 GiB seen), NCCL, growth after profiling.

    Qwen3-32B over two cards held 3.64 GiB more per card than its budget; gpt-oss-120b over eight 1.37 GiB.
    """
    if run.kind is DeviceKind.CPU:
        return _CPU_PROCESSES
    if run.tp * run.pp > 1:
        return int(2.5 * GIB)
    return int(0.6 * GIB)


def _forward(model: Model, run: RunShape) -> int:
    widest = max((_layer_width(model, index, run.tp) for index in range(len(model.layers))), default=0)
    return run.max_num_batched_tokens * (widest + 4 * model.hidden) * 2


def _layer_width(model: Model, index: int, tp: int) -> int:
    layer = model.layers[index]
    ffn = layer.ffn
    if isinstance(ffn, Mlp):
        width = 3 * ceil_div(ffn.intermediate, tp)
    elif isinstance(ffn, Experts):
        width = ffn.active * (3 * ceil_div(ffn.intermediate, tp) + (ffn.latent or model.hidden))
    else:
        width = 0
    return max(width, *(_mixer_width(mixer, tp) for mixer in layer.mixers), 0)


def _mixer_width(mixer: object, tp: int) -> int:
    if isinstance(mixer, Recurrent):
        return 3 * sum(
            ceil_div(p.out_features, tp) for p in mixer.projections if p.shard == "column" and p.linear
        )
    if isinstance(mixer, LatentAttention):
        return 3 * ceil_div(mixer.heads, tp) * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
    return 0


def _encoder(model: Model, run: RunShape) -> int:
    """The vision encoder on the largest input that is profiled; audio stays below the sampler."""
    tower = next((tower for tower in model.towers if tower.name == "vision"), None)
    if tower is None:
        return 0
    tokens = max(run.max_num_batched_tokens, tower.tokens_per_item or _ENCODER_TOKENS)
    return tokens * tower.merge * (tower.intermediate // run.tp + 6 * tower.hidden) * 2
