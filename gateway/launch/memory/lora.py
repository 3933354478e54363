"""Memory of LoRA slots, which vLLM allocates while loading, whatever adapters come later.

Source: vLLM `lora/layers/*`: per target module `max_loras x max_lora_rank x (inputs + outputs)`, column-
parallel modules with A whole and B divided, row-parallel ones the other way round.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.launch.memory.inventory import kv_heads_per_rank
from gateway.launch.memory.model import Attention, Experts, LatentAttention, Layer, Mlp, Model, Recurrent
from gateway.launch.memory.terms import UnmodelledError, ceil_div

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that --max-lora-rank accepts."""


@dataclass(frozen=True, slots=True)
class LoraSlots:
    """What the adapters of an instance need."""

    max_loras: int
    rank: int


def slot_rank(rank: int) -> int:
    """The smallest --max-lora-rank that holds an adapter of `rank`.

    Raises:
        UnmodelledError: vLLM has no such rank.
    """
    fitting = [allowed for allowed in LORA_RANKS if allowed >= rank]
    if not fitting:
        raise UnmodelledError(f"a LoRA rank of {rank} is more than vLLM's largest, {LORA_RANKS[-1]}")
    return fitting[0]


def lora_bytes(model: Model, slots: LoraSlots, tp: int, dtype_bytes: int = 2) -> int:
    """Bytes of all slots on one of `tp` ranks.

    Embeddings and LM head have slots too, whole on every rank; not in all families, which then need less.
    """
    widths = sum(count for layer in model.layers for count in _layer_widths(layer, model.hidden, tp))
    vocabulary = 2 * (model.hidden + model.vocab)
    return slots.max_loras * slots.rank * (widths + vocabulary) * dtype_bytes


def _layer_widths(layer: Layer, hidden: int, tp: int) -> Iterator[int]:
    for mixer in layer.mixers:
        if isinstance(mixer, Attention):
            query = ceil_div(mixer.heads, tp) * mixer.head_dim
            keys_values = kv_heads_per_rank(mixer.kv_heads, tp) * (mixer.head_dim + mixer.v_head_dim)
            yield 3 * hidden + query + keys_values
            yield ceil_div(mixer.heads, tp) * mixer.v_head_dim + hidden
        elif isinstance(mixer, LatentAttention):
            heads = ceil_div(mixer.heads, tp)
            yield 2 * hidden + mixer.q_lora_rank + mixer.kv_lora_rank + mixer.qk_rope_head_dim
            yield heads * (2 * mixer.v_head_dim + mixer.qk_nope_head_dim) + hidden
        elif isinstance(mixer, Recurrent):
            yield sum(p.in_features + ceil_div(p.out_features, tp) for p in mixer.projections if p.linear)
    if isinstance(layer.ffn, Mlp):
        yield _mlp_widths(layer.ffn.intermediate, layer.ffn.gated, hidden, tp)
    elif isinstance(layer.ffn, Experts):
        yield layer.ffn.count * _mlp_widths(
            layer.ffn.intermediate, layer.ffn.gated, layer.ffn.latent or hidden, tp
        )


def _mlp_widths(width: int, gated: bool, hidden: int, tp: int) -> int:  # noqa: FBT001 - one number of a shape
    inner = ceil_div(width, tp)
    return (2 if gated else 1) * (hidden + inner) + inner + hidden
