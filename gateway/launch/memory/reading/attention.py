"""The attention of one layer, from config.json: grouped-query, latent, sliding, chunked, shared."""

from gateway.launch.memory.model import Attention, Indexer, LatentAttention, Reach
from gateway.launch.memory.reading.keys import Keys
from gateway.launch.memory.terms import UnmodelledError

_QKV_BIAS = """
qwen qwen2 qwen2_moe qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen2_audio gpt2 gpt_bigcode opt bloom
phi whisper bert roberta xlm-roberta chatglm starcoder2
"""
_BIASED_QKV = frozenset(_QKV_BIAS.split())
_GATED_QUERY = frozenset(
    {"qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "afmoe"}
)
_FULL_NAMES = frozenset({"full_attention", "attention", "full", "global", "mha", "hybrid"})
_SLIDING_NAMES = frozenset(
    {"sliding_attention", "sliding_window", "sliding", "swa", "local", "local_attention"}
)


def heads_of(keys: Keys) -> int:
    """Number of query heads."""
    return keys.positive("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")


def kv_heads_of(keys: Keys, model_type: str) -> int:
    """Number of key/value heads, as in vLLM `model_arch_config_convertor.py`, get_total_num_kv_heads."""
    heads = heads_of(keys)
    if model_type in {"falcon", "gpt_bigcode"}:
        grouped = keys.flag("new_decoder_architecture")
        if not grouped and keys.flag("multi_query", default=True):
            return 1
    if model_type == "chatglm" and not keys.flag("multi_query_attention"):
        return heads
    if model_type == "dbrx":
        value = keys.section("attn_config").get("kv_n_heads")
        return value if isinstance(value, int) else heads
    names = (
        "n_head_kv",
        "num_kv_heads",
        "num_key_value_heads",
        "multi_query_group_num",
        "num_attention_groups",
    )
    return keys.integer(*names, default=heads)


def hidden_of(keys: Keys) -> int:
    """The hidden size."""
    return keys.positive("hidden_size", "n_embd", "d_model", "hidden_dim")


def head_dim_of(keys: Keys) -> int:
    """Width of one head: stated, or the hidden size divided by the heads."""
    stated = keys.integer("head_dim", "attention_head_dim", "kv_channels", "hidden_size_per_head", default=0)
    return stated or hidden_of(keys) // heads_of(keys)


def read_attention(keys: Keys, model_type: str, kind: str, index: int) -> Attention | LatentAttention:
    """The attention of layer `index`.

    Args:
        keys: the text model's section.
        model_type: the family.
        kind: what the layer pattern calls this layer.
        index: 0-based.

    Raises:
        UnmodelledError: a kind of attention this model does not know.
    """
    sliding = kind in _SLIDING_NAMES
    if keys.integer("kv_lora_rank", default=0) > 0 and not sliding:
        return _read_latent(keys, model_type, index)
    if kind not in _FULL_NAMES | _SLIDING_NAMES | {"chunked_attention", "bidirectional"}:
        raise UnmodelledError(f"layer {index} is of kind {kind!r}, which the memory model does not know")
    head_dim, kv_heads = head_dim_of(keys), kv_heads_of(keys, model_type)
    heads = heads_of(keys)
    if sliding:
        heads = keys.integer("swa_num_attention_heads", "sliding_num_attention_heads", default=heads)
        kv_heads = keys.integer("swa_num_key_value_heads", default=kv_heads)
        head_dim = keys.integer("swa_head_dim", default=head_dim)
    same_kv = model_type.startswith("gemma4") and keys.flag("attention_k_eq_v") and not sliding
    if model_type.startswith("gemma4") and not sliding:
        head_dim = keys.integer("global_head_dim", default=head_dim)
        kv_heads = keys.integer("num_global_key_value_heads", default=kv_heads) if same_kv else kv_heads
    value_dim = keys.integer("swa_v_head_dim", "v_head_dim", default=head_dim) if sliding else head_dim
    reach, window = _reach(keys, kind)
    layer_count = keys.integer("num_hidden_layers", "n_layer", "num_layers", "n_layers", default=0)
    shared_from = layer_count - keys.integer("num_kv_shared_layers", default=0)
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=value_dim if sliding else keys.integer("v_head_dim", default=head_dim),
        reach=reach,
        window=window,
        gated_query=model_type in _GATED_QUERY and keys.flag("attn_output_gate", default=True),
        qkv_bias=_has_qkv_bias(keys, model_type),
        out_bias=keys.flag("attention_bias", "use_bias") and model_type not in {"glm", "glm4", "seed_oss"},
        keys_are_values=False,
        cache_shared=0 < shared_from <= index < layer_count,
        extra_inner=heads if model_type.startswith("step3p") else 0,
    )


def _has_qkv_bias(keys: Keys, model_type: str) -> bool:
    if model_type in _BIASED_QKV:
        return keys.flag("attention_bias", "qkv_bias", "use_bias", "add_qkv_bias", default=True)
    return keys.flag("attention_bias", "qkv_bias", "use_qkv_bias", "use_bias")


def _reach(keys: Keys, kind: str) -> tuple[Reach, int]:
    if kind == "bidirectional":
        return Reach.ENCODER, 0
    if kind == "chunked_attention":
        return Reach.CHUNKED, keys.integer("attention_chunk_size")
    if kind in _SLIDING_NAMES:
        return Reach.SLIDING, keys.integer("sliding_window", "sliding_window_size", "attention_window_size")
    return Reach.FULL, 0


def _read_latent(keys: Keys, model_type: str, index: int) -> LatentAttention:
    indexer = None
    if keys.has("index_head_dim"):
        indexer = Indexer(
            heads=keys.integer("index_n_heads", default=64), head_dim=keys.integer("index_head_dim")
        )
    kinds = keys.strings("indexer_types")
    expanded = model_type == "minicpm3"
    return LatentAttention(
        heads=heads_of(keys),
        q_lora_rank=keys.integer("q_lora_rank", default=0),
        kv_lora_rank=keys.integer("kv_lora_rank"),
        qk_nope_head_dim=keys.integer("qk_nope_head_dim", default=128),
        qk_rope_head_dim=keys.integer("qk_rope_head_dim", default=64),
        v_head_dim=keys.integer("v_head_dim", default=head_dim_of(keys) if expanded else 128),
        indexer=indexer,
        indexer_cached=not (index < len(kinds) and kinds[index] == "shared"),
        expanded=expanded,
    )
