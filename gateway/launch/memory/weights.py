"""Bytes of weights on one rank: from safetensors headers, from the index, or from config.json alone.

`Model loading took X GiB` in vLLM's log is what this predicts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.launch.memory.allocator import allocated_bytes
from gateway.launch.memory.formats import Scheme
from gateway.launch.memory.inventory import Matrix, embedding, head, layer_matrices
from gateway.launch.memory.model import Model
from gateway.launch.memory.parallel import stages
from gateway.launch.memory.quantization import Quantization
from gateway.launch.memory.tensors import Checkpoint, loaded_bytes
from gateway.launch.memory.terms import Origin, Term, round_up

_INDEX_TOLERANCE = 0.05
"""An index within this of the config's estimate adds nothing: the estimate knows what is not loaded."""
_HOPPER, _BLACKWELL = 90, 100
_HEAD_ON_EVERY_STAGE = frozenset({"qwen2_moe", "qwen3_moe", "mixtral", "gpt_oss"})
"""Families whose vLLM class builds the LM head without asking for the pipeline stage."""


@dataclass(frozen=True, slots=True)
class Split:
    """How a model is divided and stored."""

    tp: int = 1
    pp: int = 1
    capability: int | None = None
    """CUDA compute capability x 10, None if unknown."""
    dtype_bytes: int = 2
    """Bytes of an unquantised weight."""
    pools: bool = False
    """Whether it serves embeddings or scores: then the LM head is never made (vLLM `models/adapters.py`)."""


def weights_term(
    model: Model, quantization: Quantization | None, split: Split, checkpoint: Checkpoint
) -> Term:
    """Weights of the fullest rank.

    Args:
        model: what the model holds.
        quantization: how it is stored; None if config.json does not tell (then the headers must).
        split: tensor and pipeline parallelism and the GPU's generation.
        checkpoint: what is known about the files.
    """
    if checkpoint.tensors:
        loaded = loaded_bytes(
            replace(model, has_lm_head=model.has_lm_head and not split.pools),
            checkpoint,
            split.tp,
            split.dtype_bytes,
        )
        fullest = _stage_share(model, quantization, split)
        return Term(int(loaded * fullest) + _extras(model, quantization, split), Origin.EXACT)
    estimate = max(_stage_bytes(model, quantization, split, stage) for stage in range(split.pp))
    if checkpoint.total_bytes:
        whole = raw_bytes(model, quantization, split.dtype_bytes)
        if abs(checkpoint.total_bytes - whole) > _INDEX_TOLERANCE * checkpoint.total_bytes:
            scaled = estimate * checkpoint.total_bytes / whole if whole else checkpoint.total_bytes
            return Term(int(scaled), Origin.CONFIG)
    return Term(estimate, Origin.CONFIG)


def raw_bytes(model: Model, quantization: Quantization | None, dtype_bytes: int) -> int:
    """Bytes of the checkpoint as stored, without anything that vLLM adds."""
    split = Split(dtype_bytes=dtype_bytes)
    kept = (m for m in _all_matrices(model, split) if m.module != "self_attn.absorbed")
    return sum(_stored_bytes(matrix, quantization, dtype_bytes) for matrix in kept)


def _all_matrices(model: Model, split: Split, stage: int | None = None) -> Iterator[Matrix]:
    bounds = stages(len(model.layers), split.pp)
    first, last = bounds[stage] if stage is not None else (0, len(model.layers))
    if stage in (None, 0):
        yield from embedding(model, split.tp)
    for index in range(first, last):
        yield from layer_matrices(model.layers[index], index, model.hidden, split.tp)
    if stage in (None, split.pp - 1) or model.model_type in _HEAD_ON_EVERY_STAGE:
        if not split.pools:
            yield from head(model, split.tp)
        if split.pp > 1 and stage is not None and model.tied_embeddings:
            yield from embedding(model, split.tp)


def _stage_bytes(model: Model, quantization: Quantization | None, split: Split, stage: int) -> int:
    matrices = _all_matrices(model, split, stage)
    total = sum(allocated_bytes(_kernel_bytes(matrix, quantization, split)) for matrix in matrices)
    return total + _rope_bytes(model)


def _rope_bytes(model: Model) -> int:
    return sum(allocated_bytes(rope.positions * rope.rotary_dim * 2) for rope in model.ropes)


def _stored_bytes(matrix: Matrix, quantization: Quantization | None, dtype_bytes: int) -> int:
    """Bytes in the files."""
    return _scheme_bytes(matrix, quantization, quantization.stored if quantization else None, dtype_bytes)


def _scheme_bytes(
    matrix: Matrix, quantization: Quantization | None, scheme: Scheme | None, dtype_bytes: int
) -> int:
    if quantization is None or scheme is None or not matrix.linear:
        return matrix.elements * dtype_bytes
    if not quantization.covers(matrix.module, matrix.layer):
        return matrix.elements * dtype_bytes
    return matrix.count * scheme.matrix_bytes(matrix.out_features, matrix.in_features)


def _kernel_bytes(matrix: Matrix, quantization: Quantization | None, split: Split) -> int:
    """Bytes in memory; the MXFP4 kernels pad the experts (vLLM `quantization/mxfp4.py`)."""
    scheme = quantization.scheme if quantization is not None else None
    if scheme is None or scheme.name != "mxfp4" or "experts|" not in matrix.module:
        return _scheme_bytes(matrix, quantization, scheme, split.dtype_bytes)
    first = "gate_proj" in matrix.module
    hidden = matrix.in_features if first else matrix.out_features
    inner = matrix.out_features // 2 if first else matrix.in_features
    hidden_step, inner_step = _mxfp4_padding(split.capability)
    hidden, inner = round_up(hidden, hidden_step), round_up(inner, inner_step)
    rows, columns = (2 * inner, hidden) if first else (hidden, inner)
    return matrix.count * scheme.matrix_bytes(rows, columns)


def _mxfp4_padding(capability: int | None) -> tuple[int, int]:
    """(hidden, intermediate) multiples. Hopper's Triton kernel: inferred from logs; others: from the code."""
    if capability is None or capability < _HOPPER:
        return 256, 128
    return (64, 256) if capability < _BLACKWELL else (256, 256)


def _stage_share(model: Model, quantization: Quantization | None, split: Split) -> float:
    if split.pp == 1:
        return 1.0
    parts = [_stage_bytes(model, quantization, split, stage) for stage in range(split.pp)]
    return max(parts) / sum(parts)


def _extras(model: Model, quantization: Quantization | None, split: Split) -> int:
    """What vLLM holds beyond the checkpoint: padding, allocator rounding, rotary tables, MLA copies."""
    extra = _rope_bytes(model)
    for matrix in _all_matrices(model, split, 0 if split.pp > 1 else None):
        stored = _stored_bytes(matrix, quantization, split.dtype_bytes)
        held = allocated_bytes(_kernel_bytes(matrix, quantization, split))
        extra += held if matrix.module == "self_attn.absorbed" else held - stored
    return extra
