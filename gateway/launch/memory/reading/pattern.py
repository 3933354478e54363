"""Which kind of mixer each layer has, from the many ways in which a config.json says so.

Yields one name per layer: `full_attention`, `sliding_attention`, `chunked_attention`, `bidirectional`,
`mamba`, `linear_attention`, `lightning`, `kda`, `conv`, `hybrid` (attention and Mamba side by side), `mlp`,
`moe`.
"""

from collections.abc import Callable, Mapping

from gateway.launch.memory.reading.keys import Keys
from gateway.launch.memory.terms import UnmodelledError

_HYBRID_LETTERS = {"M": "mamba", "*": "full_attention", "-": "mlp", "E": "moe"}
_SLIDING_LETTERS = {"L": "sliding_attention", "G": "full_attention"}
_MOST_LAYERS = 1000
_ALTERNATING = frozenset({"gemma2", "gpt_oss"})
_ENCODERS = frozenset(
    {"bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "new", "gte", "mpnet", "distilbert"}
)
_IGNORES_WINDOW = frozenset(
    {"gemma", "llama4", "llama4_text", "nemotron", "nemotron_h", "minimax_m2", "mllama"}
)
_OPTIONAL_WINDOW = ("qwen2", "qwen3", "smollm3")
"""Families that use their window only where `use_sliding_window` says so."""
_LINEAR_MEANS = {
    "minimax": "lightning",
    "kimi_linear": "kda",
    "granitemoehybrid": "mamba",
    "nemotron_h": "mamba",
    "bamba": "mamba",
    "jamba": "mamba",
}
"""transformers 5 calls every recurrent layer `linear_attention`."""
_SYNONYMS = {
    "attention": "full_attention",
    "full_attention_moe": "full_attention",
    "sliding_window": "sliding_attention",
    "mamba2": "mamba",
    "deepseek_sparse_attention": "full_attention",
    "indexer_attention": "full_attention",
    "global": "full_attention",
    "local": "sliding_attention",
    "short_conv": "conv",
    "kimi_linear_attention": "kda",
    "swa": "sliding_attention",
}


def layer_count(keys: Keys) -> int:
    """Number of decoder layers."""
    count = keys.positive("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers")
    if count > _MOST_LAYERS:
        raise UnmodelledError(f"{keys.where}: {count} layers are not plausible")
    return count


def layer_kinds(keys: Keys, model_type: str) -> tuple[str, ...]:
    """The kind of every layer, in order.

    Raises:
        UnmodelledError: the pattern is present but not understood.
    """
    if _sees_everything(keys, model_type):
        return ("bidirectional",) * layer_count(keys)
    for reader in (_listed, _lettered, _indexed, _periodic):
        if kinds := reader(keys, model_type):
            return kinds
    return _windowed(keys, model_type)


def _sees_everything(keys: Keys, model_type: str) -> bool:
    """Whether no layer is causal, so that nothing is cached (vLLM `models/config.py`).

    `use_bidirectional_attention` alone may mean the image tokens of a prompt only (Gemma 4, PaliGemma).
    """
    if model_type in _ENCODERS or keys.find("is_causal") is False:
        return True
    (name, *_) = keys.strings("architectures") or ("",)
    return "Bidirectional" in name or (name == "Gemma3TextModel" and keys.flag("use_bidirectional_attention"))


def _listed(keys: Keys, model_type: str) -> tuple[str, ...]:
    """A list with one name per layer."""
    names = keys.strings("layer_types", "layers_block_type", "block_types")
    if not names:
        return ()
    linear = _LINEAR_MEANS.get(model_type, "linear_attention")
    names = tuple(linear if name == "linear_attention" else name for name in names)
    kinds = tuple(_SYNONYMS.get(name, name) for name in names)
    count = keys.integer("num_hidden_layers", default=len(kinds))
    if len(kinds) < count:
        kinds = kinds * -(-count // len(kinds))
    return kinds[:count]


def _lettered(keys: Keys, _model_type: str) -> tuple[str, ...]:
    """A string with one letter per layer (Nemotron-H), or a repeating one (EXAONE 4)."""
    pattern = keys.text("hybrid_override_pattern", "hybrid_layer_pattern")
    if pattern:
        unknown = set(pattern) - set(_HYBRID_LETTERS)
        if unknown:
            raise UnmodelledError(f"hybrid_override_pattern has the unknown letter {min(unknown)!r}")
        return tuple(_HYBRID_LETTERS[letter] for letter in pattern)
    repeating = keys.find("sliding_window_pattern", "hybrid_layer_pattern")
    if isinstance(repeating, str) and repeating and set(repeating) <= set(_SLIDING_LETTERS):
        count = layer_count(keys)
        return tuple(_SLIDING_LETTERS[repeating[i % len(repeating)]] for i in range(count))
    return ()


def _indexed(keys: Keys, _model_type: str) -> tuple[str, ...]:
    """Lists of the layers that have attention, or one number per layer."""
    count = layer_count(keys)
    full = keys.section("linear_attn_config").get("full_attn_layers")
    if isinstance(full, list):
        return tuple("full_attention" if i + 1 in full else "kda" for i in range(count))
    for name, other in (("attn_layer_indices", "mamba"), ("full_attn_idxs", "conv")):
        if attention := keys.integers(name):
            return tuple("full_attention" if i in attention else other for i in range(count))
    if numbers := keys.integers("attn_type_list"):
        return tuple("full_attention" if number else "lightning" for number in numbers[:count])
    numbers = keys.integers("hybrid_layer_pattern")
    return tuple("sliding_attention" if number else "full_attention" for number in numbers[:count])


def _periodic(keys: Keys, model_type: str) -> tuple[str, ...]:
    """Every n-th layer is different."""
    reader = _PERIODIC.get(model_type)
    return tuple(reader(keys, i) for i in range(layer_count(keys))) if reader else ()


def _jamba(keys: Keys, index: int) -> str:
    period, offset = keys.integer("attn_layer_period"), keys.integer("attn_layer_offset")
    return "full_attention" if index % period == offset else "mamba"


def _gated_delta(keys: Keys, index: int) -> str:
    interval = keys.integer("full_attention_interval", default=4)
    return "linear_attention" if (index + 1) % interval else "full_attention"


def _chunked(keys: Keys, index: int) -> str:
    """Llama 4: layers without rotary embedding see everything, by list or every fourth."""
    if not keys.has("attention_chunk_size"):
        return "full_attention"
    listed = keys.integers("no_rope_layers")
    rope = listed[index] if index < len(listed) else (index + 1) % 4
    return "chunked_attention" if rope else "full_attention"


_PERIODIC: Mapping[str, Callable[[Keys, int], str]] = {
    "jamba": _jamba,
    "qwen3_next": _gated_delta,
    "qwen3_5": _gated_delta,
    "qwen3_5_text": _gated_delta,
    "qwen3_5_moe": _gated_delta,
    "qwen3_5_moe_text": _gated_delta,
    "llama4": _chunked,
    "llama4_text": _chunked,
    "falcon_h1": lambda _keys, _index: "hybrid",
    "bamba": lambda _keys, _index: "mamba",
    "mamba": lambda _keys, _index: "mamba",
    "mamba2": lambda _keys, _index: "mamba",
    "falcon_mamba": lambda _keys, _index: "mamba",
}


def _windowed(keys: Keys, model_type: str) -> tuple[str, ...]:
    """Attention layers, told apart only by a sliding window."""
    count = layer_count(keys)
    window = keys.integer("sliding_window", "sliding_window_size", default=0)
    uses_window = keys.flag("use_sliding_window", default=not model_type.startswith(_OPTIONAL_WINDOW))
    if not window or not uses_window or model_type in _IGNORES_WINDOW:
        return ("full_attention",) * count
    period = keys.integer(
        "sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers", default=0
    )
    if model_type in _ALTERNATING:
        return tuple("full_attention" if index % 2 else "sliding_attention" for index in range(count))
    if period > 1:
        return tuple("full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(count))
    first = keys.integer("max_window_layers", default=0) if model_type.startswith("qwen2") else 0
    return tuple("sliding_attention" if index >= first else "full_attention" for index in range(count))
