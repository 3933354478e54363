"""The weight matrices that one tensor-parallel rank holds, by vLLM's way of fusing and dividing them.

Source: vLLM `model_executor/layers/linear.py` (QKVParallelLinear, MergedColumnParallelLinear,
RowParallelLinear), `fused_moe/layer.py` and `vocab_parallel_embedding.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.launch.memory.model import (
    Attention,
    Experts,
    LatentAttention,
    Layer,
    Mixer,
    Mlp,
    Model,
    Reach,
    Recurrent,
    Task,
)
from gateway.launch.memory.terms import ceil_div, round_up

_VOCAB_PADDING = 64
_WITH_GROUPS = frozenset({"in_proj", "conv1d"})
"""Projections of Mamba 2 that repeat its groups where they do not divide by the ranks."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """`count` matrices of one rank, stored as one tensor."""

    module: str
    """Name inside the layer as quantisation ignore lists spell it; alternatives are separated by `|`."""
    layer: int
    """-1: outside the layers."""
    out_features: int
    in_features: int
    count: int = 1
    linear: bool = True
    """False: never quantised."""

    @property
    def elements(self) -> int:
        """Number of weights."""
        return self.count * self.out_features * self.in_features


def layer_matrices(layer: Layer, index: int, hidden: int, tp: int) -> Iterator[Matrix]:
    """The matrices of one layer on one of `tp` ranks."""
    for mixer in layer.mixers:
        yield from _mixer(mixer, index, hidden, tp)
    if isinstance(layer.ffn, Mlp):
        yield from _mlp(layer.ffn.intermediate, layer.ffn.gated, index, hidden, tp)
    elif isinstance(layer.ffn, Experts):
        yield from _experts(layer.ffn, index, hidden, tp)
    if layer.extra_params:
        yield Matrix("norm", index, layer.extra_params, 1, linear=False)


def embedding(model: Model, tp: int) -> Iterator[Matrix]:
    """The input embeddings and everything else that sits before the first layer."""
    # Whisper's decoder has a plain embedding, whole on every rank.
    parts = 1 if model.task is Task.TRANSCRIBE else tp
    rows = ceil_div(round_up(model.vocab, _VOCAB_PADDING), parts)
    yield Matrix("embed_tokens", -1, rows, model.embedding_dim or model.hidden, linear=False)
    if model.embedding_dim not in {0, model.hidden}:
        yield Matrix("project", -1, 2 * model.embedding_dim, model.hidden, linear=False)
    if model.embedding_rows:
        rows = model.embedding_rows if model.has_lm_head else ceil_div(model.embedding_rows, tp)
        yield Matrix("position_embeddings", -1, rows, model.hidden, linear=False)
    if model.extra_params:
        yield Matrix("norm", -1, model.extra_params, 1, linear=False)
    if model.extra_sharded_params:
        yield Matrix("embed_tokens_per_layer", -1, ceil_div(model.extra_sharded_params, tp), 1, linear=False)
    for tower in model.towers:
        divided = tower.params - tower.replicated if tower.sharded else 0
        held = tower.params - divided + ceil_div(divided, tp)
        yield Matrix("visual", -1, held, 1, linear=False)


def head(model: Model, tp: int) -> Iterator[Matrix]:
    """The LM head, where it is not the input embedding."""
    if model.has_lm_head and not model.tied_embeddings:
        rows = ceil_div(round_up(model.vocab, _VOCAB_PADDING), tp)
        yield Matrix("lm_head", -1, rows, model.hidden)


def kv_heads_per_rank(kv_heads: int, tp: int) -> int:
    """Key/value heads on one rank: divided, or repeated when there are fewer heads than ranks."""
    return max(1, kv_heads // tp)


def _mixer(mixer: Mixer, index: int, hidden: int, tp: int) -> Iterator[Matrix]:
    if isinstance(mixer, Attention):
        yield from _attention(mixer, index, hidden, tp)
    elif isinstance(mixer, LatentAttention):
        yield from _latent(mixer, index, hidden, tp)
    else:
        yield from _recurrent(mixer, index, tp)


def _attention(mixer: Attention, index: int, hidden: int, tp: int) -> Iterator[Matrix]:
    kv_heads = kv_heads_per_rank(mixer.kv_heads, tp)
    query = ceil_div(mixer.heads, tp) * mixer.head_dim * (2 if mixer.gated_query else 1)
    query += ceil_div(mixer.extra_inner, tp)
    keys_values = 0 if mixer.cache_shared else kv_heads * (mixer.head_dim + mixer.v_head_dim)
    out = ceil_div(mixer.heads, tp) * mixer.v_head_dim
    prefix = "encoder_attn" if mixer.reach is Reach.CROSS else "self_attn"
    yield Matrix(f"{prefix}.qkv_proj|{prefix}.q_proj", index, query + keys_values, hidden)
    yield Matrix(f"{prefix}.o_proj", index, hidden, out)
    bias = (query + keys_values if mixer.qkv_bias else 0) + (hidden if mixer.out_bias else 0)
    if bias:
        yield Matrix("bias", index, bias, 1, linear=False)


def _latent(mixer: LatentAttention, index: int, hidden: int, tp: int) -> Iterator[Matrix]:
    heads = ceil_div(mixer.heads, tp)
    compressed = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    query = heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
    up = heads * (mixer.qk_nope_head_dim + mixer.v_head_dim)
    if mixer.q_lora_rank:
        name = "self_attn.fused_qkv_a_proj|self_attn.q_a_proj"
        yield Matrix(name, index, mixer.q_lora_rank + compressed, hidden)
        yield Matrix("self_attn.q_b_proj", index, query, mixer.q_lora_rank)
    else:
        yield Matrix("self_attn.q_proj", index, query, hidden)
        yield Matrix("self_attn.kv_a_proj_with_mqa", index, compressed, hidden)
    yield Matrix("self_attn.kv_b_proj", index, up, mixer.kv_lora_rank)
    yield Matrix("self_attn.o_proj", index, hidden, heads * mixer.v_head_dim)
    if not mixer.expanded:
        # vLLM keeps 16-bit copies of the up-projection, transposed, for decoding (MLAAttention.W_UK_T, W_UV).
        yield Matrix("self_attn.absorbed", index, up, mixer.kv_lora_rank, linear=False)
    if mixer.indexer is not None and mixer.indexer_cached:
        width = mixer.indexer.heads * mixer.indexer.head_dim
        yield Matrix("self_attn.indexer.wq_b", index, width, mixer.q_lora_rank or hidden)
        yield Matrix("self_attn.indexer.wk", index, mixer.indexer.head_dim, hidden)
        yield Matrix("self_attn.indexer.weights_proj", index, mixer.indexer.heads, hidden, linear=False)


def _recurrent(mixer: Recurrent, index: int, tp: int) -> Iterator[Matrix]:
    for projection in mixer.projections:
        rows, columns = projection.out_features, projection.in_features
        if projection.shard == "column":
            repeated = tp - mixer.groups if mixer.groups % tp and projection.name in _WITH_GROUPS else 0
            rows = ceil_div(rows + repeated * mixer.group_rows, tp)
        elif projection.shard == "row":
            columns = ceil_div(columns, tp)
        linear = projection.linear and projection.name not in {"in_proj_ba", "b_proj"}
        yield Matrix(f"{mixer.prefix}.{projection.name}", index, rows, columns, linear=linear)


def _mlp(width: int, gated: bool, index: int, hidden: int, tp: int, name: str = "mlp") -> Iterator[Matrix]:  # noqa: FBT001 - one number of a shape
    inner = ceil_div(width, tp)
    first = f"{name}.gate_up_proj|{name}.gate_proj|{name}.up_proj"
    yield Matrix(first, index, (2 if gated else 1) * inner, hidden)
    yield Matrix(f"{name}.down_proj", index, hidden, inner)


def _experts(block: Experts, index: int, hidden: int, tp: int) -> Iterator[Matrix]:
    width = block.latent or hidden
    inner = ceil_div(block.intermediate, tp)
    rows = (2 if block.gated else 1) * inner
    yield Matrix("mlp.gate", index, block.count, hidden, linear=False)
    yield Matrix("mlp.experts|mlp.experts.0.gate_proj", index, rows, width, block.count)
    yield Matrix("mlp.experts|mlp.experts.0.down_proj", index, width, inner, block.count)
    if block.bias:
        yield Matrix("mlp.experts.bias", index, block.count * (rows + width), 1, linear=False)
    if block.latent:
        yield Matrix("mlp.fc1_latent_proj", index, block.latent, hidden)
        yield Matrix("mlp.fc2_latent_proj", index, hidden, block.latent)
    if block.shared_intermediate:
        yield from _mlp(block.shared_intermediate, block.gated, index, hidden, tp, "mlp.shared_expert")
    if block.dense_intermediate:
        yield from _mlp(block.dense_intermediate, block.gated, index, hidden, tp)
