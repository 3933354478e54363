"""Context length and rotary tables, from config.json.

Source: vLLM `config/model.py` (_get_and_verify_max_len) and `model_executor/layers/rotary_embedding/`.
"""

from collections.abc import Mapping

from gateway.launch.memory.model import Rope
from gateway.launch.memory.reading.attention import head_dim_of
from gateway.launch.memory.reading.keys import Json, Keys

_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_UNSCALED = frozenset(
    {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "default", "mrope"}
)
_FALLBACK_LENGTH = 2048
_NO_ROPE = frozenset(
    {
        "gpt2",
        "gpt_bigcode",
        "opt",
        "bloom",
        "bert",
        "roberta",
        "xlm-roberta",
        "mpnet",
        "jamba",
        "nemotron_h",
        "mamba",
    }
    | {"mamba2", "falcon_mamba", "whisper"}
)
_MROPE_FACTOR = 4
"""vLLM's multimodal rotary table covers four times the positions (MRotaryEmbedding)."""


def max_positions(keys: Keys, model_type: str) -> int:
    """The default of --max-model-len, in tokens."""
    lengths = [keys.integer(name) for name in _LENGTH_KEYS if keys.has(name)]
    if not lengths:
        return _FALLBACK_LENGTH
    # Command R states what it was extended to beside the positions it was first trained with.
    length = keys.integer("model_max_length", default=0) or min(lengths)
    scaling = _scaling(keys)
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    factor = scaling.get("factor")
    if kind in {"longrope", "su"}:
        return keys.integer("original_max_position_embeddings", default=length)
    if isinstance(factor, (int, float)) and kind not in _UNSCALED and not model_type.startswith("gemma3"):
        length = int(length * factor)
    if model_type == "nomic_bert":
        length = min(length, keys.integer("max_trained_positions", default=length))
    if model_type in {"roberta", "xlm-roberta"}:
        length -= keys.integer("pad_token_id", default=1) + 1
    return length


def most_positions(keys: Keys, model_type: str) -> int:
    """The largest --max-model-len that vLLM accepts: some models start with less than they can do."""
    if model_type == "nomic_bert":
        return keys.integer(*_LENGTH_KEYS, default=0)
    if str(_scaling(keys).get("rope_type") or _scaling(keys).get("type")) in {"longrope", "su"}:
        return max(keys.integer(*_LENGTH_KEYS, default=0), max_positions(keys, model_type))
    return max_positions(keys, model_type)


def read_ropes(keys: Keys, model_type: str, *, multimodal: bool) -> tuple[Rope, ...]:
    """The rotary tables that vLLM builds, one per distinct set of parameters."""
    if model_type in _NO_ROPE or keys.text("position_embedding_type") == "nope":
        return ()
    positions = keys.integer(*_LENGTH_KEYS, default=_FALLBACK_LENGTH)
    scaling = _scaling(keys)
    if keys.integer("kv_lora_rank", default=0):
        dim = keys.integer("qk_rope_head_dim", default=64)
    else:
        dim = int(head_dim_of(keys) * _rotary_fraction(keys, scaling))
    if multimodal and "mrope_section" in scaling:
        positions *= _MROPE_FACTOR
    whole = Rope(dim, _table_length(keys, scaling, positions))
    # Families with a table of their own for sliding layers: unscaled.
    local = (Rope(dim, positions),) if model_type.startswith(("gemma3", "gemma4", "modernbert")) else ()
    return (whole, *local)


def _table_length(keys: Keys, scaling: Json, positions: int) -> int:
    """Positions of a table; scaled kinds cover the whole extended context, whatever is used of it."""
    kind = scaling.get("rope_type") or scaling.get("type")
    factor = scaling.get("factor")
    if kind in {"longrope", "su"}:
        return positions + keys.integer("original_max_position_embeddings", default=0)
    if not isinstance(factor, (int, float)):
        return positions
    original = scaling.get("original_max_position_embeddings")
    if kind in {"yarn", "deepseek_yarn"} and isinstance(original, int):
        return int(original * factor)
    return int(positions * factor) if kind in {"linear", "dynamic"} else positions


def _rotary_fraction(keys: Keys, scaling: Json) -> float:
    stated = scaling.get("partial_rotary_factor")
    if isinstance(stated, (int, float)):
        return float(stated)
    return keys.number("partial_rotary_factor", "rotary_pct", "rope_percentage", default=1.0)


def _scaling(keys: Keys) -> Json:
    section = keys.section("rope_parameters", "rope_scaling")
    nested = section.get("full_attention")
    return nested if isinstance(nested, Mapping) else section
