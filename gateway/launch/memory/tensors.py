"""What a rank loads of a checkpoint whose tensors are known by name, dtype and shape.

The tensors come from safetensors headers. Which of them tensor parallelism divides is told from their names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from gateway.launch.memory.inventory import kv_heads_per_rank
from gateway.launch.memory.model import Attention, Model

DTYPE_BITS: Mapping[str, int] = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6,
}  # fmt: skip
"""Bits per element of the safetensors dtypes."""

_NOT_LOADED = re.compile(
    r"(^|\.)(mtp|mtp_layers|nextn|eagle|rotary_emb\.inv_freq|masked_bias|attn\.bias)(\.|$)"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_VOCAB = re.compile(r"(embed_tokens|lm_head|wte|word_embeddings|embed_out|embeddings\.weight|tok_embeddings)")
_VISION = re.compile(r"(visual|vision|audio|image_newline|patch_embed|multi_modal_projector|mm_projector)")
_REPLICATED = re.compile(
    r"(norm|layernorm|\.ln_|mlp\.gate\.|router|block_sparse_moe\.gate\.|\.gate\.weight$|q_a_proj|kv_a_proj|indexer"
    r"|fused_qkv_a|shared_expert_gate|e_score_correction|fc1_latent|fc2_latent|position_embed|token_type|wpe)"
)
_KEY_VALUE = re.compile(r"\.(k_proj|v_proj|wk|wv|key|value)\.")
_FUSED = re.compile(r"\.(qkv_proj|query_key_value|c_attn|Wqkv|W_pack)\.")
_KEEPS_DTYPE = re.compile(r"(scale|zero|g_idx|A_log|dt_bias|correction_bias|\.D$|absmax)")
_FLOATS = frozenset({"F32", "F16", "BF16", "F64"})


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes in the file."""
        return prod(self.shape) * DTYPE_BITS.get(self.dtype, 16) // 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known about a model's weight files."""

    tensors: tuple[TensorInfo, ...] = ()
    total_bytes: int = 0
    """`metadata.total_size` of the index, 0 if there is none."""


UNKNOWN_CHECKPOINT = Checkpoint()


def parse_header(header: Mapping[str, object]) -> Iterable[TensorInfo]:
    """The tensors of one safetensors header, as parsed JSON; entries that are no tensors are skipped."""
    for name, entry in header.items():
        if name == "__metadata__" or not isinstance(entry, Mapping):
            continue
        shape, dtype = entry.get("shape"), entry.get("dtype")
        if isinstance(shape, list) and isinstance(dtype, str):
            yield TensorInfo(name, dtype, tuple(int(extent) for extent in shape))


def loaded_bytes(model: Model, checkpoint: Checkpoint, tp: int, dtype_bytes: int) -> int:
    """Bytes of the tensors that one of `tp` ranks holds, before padding and rounding."""
    return sum(_rank_bytes(tensor, model, tp, dtype_bytes) for tensor in checkpoint.tensors)


def _rank_bytes(tensor: TensorInfo, model: Model, tp: int, dtype_bytes: int) -> int:
    name = tensor.name
    layer = _LAYER.search(name)
    in_tower = bool(_VISION.search(name))
    beyond = layer is not None and not in_tower and int(layer[1]) >= max(len(model.layers), 1)
    no_head = model.tied_embeddings or not model.has_lm_head
    if _NOT_LOADED.search(name) or beyond or (no_head and name.endswith("lm_head.weight")):
        return 0
    size = tensor.stored_bytes
    if tensor.dtype in _FLOATS and not _KEEPS_DTYPE.search(name):
        size = prod(tensor.shape) * dtype_bytes
    return int(size * _share(tensor, model, tp))


def _share(tensor: TensorInfo, model: Model, tp: int) -> float:
    """The part of a tensor that one rank holds."""
    name = tensor.name
    if tp == 1 or (_REPLICATED.search(name) and not _VOCAB.search(name)) or not tensor.shape:
        return 1.0
    attention = next((mixer for mixer in model.mixers if isinstance(mixer, Attention)), None)
    if attention is not None and _KEY_VALUE.search(name):
        return kv_heads_per_rank(attention.kv_heads, tp) / attention.kv_heads
    if attention is not None and _FUSED.search(name):
        whole = attention.heads + 2 * attention.kv_heads
        return (attention.heads / tp + 2 * kv_heads_per_rank(attention.kv_heads, tp)) / whole
    return 1.0 / tp
