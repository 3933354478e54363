"""The feed-forward block of one layer, from config.json: dense, mixture of experts, or both by pattern."""

from collections.abc import Callable, Mapping

from gateway.launch.memory.model import Experts, Mlp
from gateway.launch.memory.reading.attention import hidden_of
from gateway.launch.memory.reading.keys import Keys
from gateway.launch.memory.reading.pattern import layer_count
from gateway.launch.memory.terms import round_up

_PLAIN = frozenset(
    {
        "gpt2",
        "gpt_bigcode",
        "gpt_neox",
        "gptj",
        "opt",
        "bloom",
        "falcon",
        "phi",
        "starcoder2",
        "nemotron",
        "nemotron_h",
    }
    | {
        "bert",
        "roberta",
        "xlm-roberta",
        "mpnet",
        "distilbert",
        "whisper",
        "mpt",
        "arcee",
        "apertus",
        "jais2",
        "codegen",
    }
)
"""Families with two matrices (up, down) instead of three (gate, up, down)."""
_BIASED = frozenset(
    {"gpt2", "gpt_bigcode", "gpt_neox", "gptj", "opt", "bloom", "phi", "bert", "roberta", "xlm-roberta"}
)
_NO_MLP = frozenset({"mamba", "mamba2", "falcon_mamba"})
_SHARED_MLP = frozenset({"granitemoehybrid", "granitemoeshared"})
_EXPERT_COUNT = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_routed_experts",
)
_EXPERT_WIDTH = (
    "moe_intermediate_size",
    "expert_ffn_hidden_size",
    "moe_ffn_hidden_size",
    "expert_intermediate_size",
)


def read_ffn(keys: Keys, model_type: str, index: int) -> Mlp | Experts | None:
    """The feed-forward block of layer `index` (0-based)."""
    if has_experts(keys) and is_sparse(keys, model_type, index):
        return read_experts(keys, model_type)
    return read_mlp(keys, model_type, index)


def has_experts(keys: Keys) -> bool:
    """Whether any layer has a mixture of experts."""
    return keys.integer(*_EXPERT_COUNT, default=0) > 1


def read_mlp(keys: Keys, model_type: str, index: int = 0) -> Mlp | None:
    """The dense block, or None where a family has none."""
    if model_type in _SHARED_MLP:
        width = keys.integer("shared_intermediate_size", default=0) or keys.integer("intermediate_size")
    elif model_type in {"llama4", "llama4_text"}:
        width = keys.integer("intermediate_size_mlp", "intermediate_size")
    else:
        width = _dense_width(keys, model_type, index)
    if not width:
        return None
    gated = model_type not in _PLAIN
    return Mlp(width, gated, bias=model_type in _BIASED or keys.flag("mlp_bias", "use_bias"))


def _dense_width(keys: Keys, model_type: str, index: int) -> int:
    hidden = hidden_of(keys)
    widths = keys.integers(
        "intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner", "decoder_ffn_dim", "d_ff"
    )
    if model_type == "lfm2":
        return _lfm2_width(keys)
    if model_type in _NO_MLP:
        return 0
    if not widths:
        return 4 * hidden
    width = widths[index] if index < len(widths) and len(widths) > 1 else widths[0]
    if model_type == "qwen":
        return width // 2
    layers = keys.integer("num_hidden_layers", default=0)
    first_shared = layers - keys.integer("num_kv_shared_layers", default=0)
    if model_type.startswith("gemma4") and keys.flag("use_double_wide_mlp") and 0 < first_shared <= index:
        return 2 * width
    return width


def _lfm2_width(keys: Keys) -> int:
    """Liquid's rule (transformers `modeling_lfm2.py`, Lfm2MLP)."""
    width = keys.integer("block_ff_dim", "intermediate_size")
    if not keys.flag("block_auto_adjust_ff_dim", default=True):
        return width
    width = int(keys.number("block_ffn_dim_multiplier", default=1.0) * int(2 * width / 3))
    return round_up(width, keys.integer("block_multiple_of", default=256))


def is_sparse(keys: Keys, model_type: str, index: int) -> bool:
    """Whether layer `index` of a model with experts is one of the sparse ones."""
    own_rule = _SPARSE_RULES.get(model_type)
    if own_rule is not None:
        return own_rule(keys, index)
    if index in keys.integers("mlp_only_layers"):
        return False
    listed = _listed_sparse(keys)
    if listed is not None:
        return index >= len(listed) or listed[index]
    first = keys.integer("first_k_dense_replace", "num_dense_layers", "n_dense_layers", default=0)
    step = keys.integer("moe_layer_freq", "moe_layer_step", default=1)
    return index >= first and index % max(step, 1) == 0


def _listed_sparse(keys: Keys) -> tuple[bool, ...] | None:
    """One truth value per layer, where the file has such a list."""
    frequency = keys.find("moe_layer_freq")
    if isinstance(frequency, list):
        return tuple(bool(item) for item in frequency)
    if kinds := keys.strings("mlp_layer_types"):
        return tuple(kind != "dense" for kind in kinds)
    if sparse := keys.text("moe_layers_enum"):
        chosen = {int(item) for item in sparse.split(",")}
        return tuple(index in chosen for index in range(layer_count(keys)))
    return None


def _jamba_sparse(keys: Keys, index: int) -> bool:
    return index % keys.integer("expert_layer_period") == keys.integer("expert_layer_offset")


def _llama4_sparse(keys: Keys, index: int) -> bool:
    if listed := keys.integers("moe_layers"):
        return index in listed
    return (index + 1) % keys.integer("interleave_moe_layer_step", default=1) == 0


def _ernie_sparse(keys: Keys, index: int) -> bool:
    first = keys.integer("moe_layer_start_index", default=0)
    last = keys.integer("moe_layer_end_index", default=-1)
    within = index >= first and (last < 0 or index <= last)
    return within and (index + 1) % keys.integer("moe_layer_interval", default=1) == 0


def _qwen_sparse(keys: Keys, index: int) -> bool:
    step = keys.integer("decoder_sparse_step", default=1)
    return index not in keys.integers("mlp_only_layers") and step > 0 and (index + 1) % step == 0


_SPARSE_RULES: Mapping[str, Callable[[Keys, int], bool]] = {
    "jamba": _jamba_sparse,
    "llama4": _llama4_sparse,
    "llama4_text": _llama4_sparse,
    "ernie4_5_moe": _ernie_sparse,
    "ernie4_5_moe_vl": _ernie_sparse,
    "qwen2_moe": _qwen_sparse,
    "qwen3_moe": _qwen_sparse,
    "qwen3_next": _qwen_sparse,
    "qwen3_vl_moe_text": _qwen_sparse,
}


def read_experts(keys: Keys, model_type: str) -> Experts:
    """The mixture of experts that every sparse layer of the model has."""
    width = keys.integer(*_EXPERT_WIDTH, default=0)
    if model_type in {"llama4", "llama4_text"} or not width:
        width = keys.integer("intermediate_size", "ffn_hidden_size")
    gated = model_type not in _PLAIN
    return Experts(
        count=keys.integer(*_EXPERT_COUNT),
        active=keys.integer(
            "num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts", "moe_k", default=2
        ),
        intermediate=width,
        gated=gated,
        shared_intermediate=_shared_width(keys, model_type, width),
        latent=keys.integer("moe_latent_size", default=0),
        bias=model_type == "gpt_oss",
        dense_intermediate=keys.integer("intermediate_size") if model_type.startswith("gemma4") else 0,
    )


def _shared_width(keys: Keys, model_type: str, width: int) -> int:
    if model_type in {"llama4", "llama4_text"}:
        return width
    if model_type in _SHARED_MLP:
        return keys.integer("shared_intermediate_size", default=0)
    stated = keys.integer(
        "moe_shared_expert_intermediate_size",
        "shared_expert_intermediate_size",
        "share_expert_dim",
        default=0,
    )
    count = keys.integer(
        "n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert", default=0
    )
    if stated:
        return stated * max(count, 1)
    return count * width
