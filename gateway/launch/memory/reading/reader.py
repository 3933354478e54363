"""From a Hugging Face config.json to a `Model`."""

from dataclasses import replace

from gateway.launch.memory.model import (
    Attention,
    Experts,
    Layer,
    Mixer,
    Mlp,
    Model,
    Reach,
    Recurrent,
    Task,
)
from gateway.launch.memory.reading.attention import (
    head_dim_of,
    heads_of,
    hidden_of,
    kv_heads_of,
    read_attention,
)
from gateway.launch.memory.reading.feedforward import read_experts, read_ffn, read_mlp
from gateway.launch.memory.reading.keys import Json, Keys
from gateway.launch.memory.reading.lengths import max_positions, most_positions, read_ropes
from gateway.launch.memory.reading.pattern import layer_kinds
from gateway.launch.memory.reading.recurrent import read_recurrent
from gateway.launch.memory.reading.sections import model_type_of, text_section
from gateway.launch.memory.reading.support import check_supported, notes_for
from gateway.launch.memory.reading.towers import read_towers, tower_notes
from gateway.launch.memory.reading.whisper import read_whisper
from gateway.launch.memory.terms import UnmodelledError

_RECURRENT_KINDS = frozenset({"mamba", "linear_attention", "lightning", "kda", "conv"})
_LEARNED_POSITIONS = frozenset({"gpt2", "gpt_bigcode", "opt", "bert", "roberta", "xlm-roberta", "mpnet"})
_ENCODER_TYPES = frozenset(
    {"bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "mpnet", "new", "gte", "distilbert"}
)
_POOL_SUFFIXES = (
    "Model",
    "ForSequenceClassification",
    "ForMaskedLM",
    "ForTokenClassification",
    "ForRewardModel",
    "ForProcessRewardModel",
    "ForRetrieval",
    "ForRanking",
)
_GENERATES = ("LMHeadModel", "ChatGLMModel", "ChatModel", "OmniModel", "DashengLMModel", "UltravoxModel")
"""Names that end like a pooling model's, of models that generate (vLLM `models/registry.py`)."""
_DTYPES = frozenset({"bfloat16", "float16", "float32"})


def read_model(config: Json) -> Model:
    """What the model holds.

    Args:
        config: the parsed config.json.

    Raises:
        UnmodelledError: a value is missing, or the architecture is not modelled; the message says which.
    """
    try:
        return _read(config)
    except (ArithmeticError, IndexError, TypeError) as error:
        raise UnmodelledError(f"config.json contradicts itself ({error})") from None


def _read(config: Json) -> Model:
    keys = text_section(config)
    architecture = _architecture(config)
    model_type = model_type_of(keys, architecture)
    check_supported(model_type, architecture)
    if model_type == "whisper":
        return read_whisper(keys, architecture)
    hidden, vocab = hidden_of(keys), keys.positive("vocab_size", "padded_vocab_size", "n_vocab")
    layers = _layers(keys, model_type)
    towers = read_towers(config, hidden)
    encoder = model_type in _ENCODER_TYPES
    sharded, replicated = _outside_layers(keys, model_type, hidden, len(layers))
    return Model(
        architecture=architecture,
        model_type=model_type,
        task=_task(architecture, model_type),
        hidden=hidden,
        vocab=vocab,
        layers=layers,
        dtype=dtype_of(keys),
        max_positions=max_positions(keys, model_type),
        most_positions=most_positions(keys, model_type),
        tied_embeddings=keys.flag("tie_word_embeddings", default=model_type in {"gpt2", "bloom"}),
        has_lm_head=not encoder,
        embedding_rows=_embedding_rows(keys, model_type),
        embedding_dim=keys.integer("word_embed_proj_dim", default=0),
        extra_params=replicated,
        extra_sharded_params=sharded,
        ropes=read_ropes(keys, model_type, multimodal=bool(towers)),
        towers=towers,
        notes=notes_for(model_type, architecture) + tower_notes(config, towers),
    )


def dtype_of(keys: Keys) -> str:
    """The dtype that vLLM's `--dtype auto` gives: float32 checkpoints are run in 16 bit."""
    stated = keys.text("dtype", "torch_dtype").removeprefix("torch.")
    return stated if stated in _DTYPES - {"float32"} else "bfloat16"


def _architecture(config: Json) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names:
        return str(names[0])
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise UnmodelledError("config.json names neither an architecture nor a model_type")
    return ""


def _task(architecture: str, model_type: str) -> Task:
    if model_type in _ENCODER_TYPES:
        return Task.POOL
    if architecture.endswith(_POOL_SUFFIXES) and not architecture.endswith(_GENERATES):
        return Task.POOL
    return Task.GENERATE


def _layers(keys: Keys, model_type: str) -> tuple[Layer, ...]:
    kinds = layer_kinds(keys, model_type)
    if not kinds:
        raise UnmodelledError("config.json describes a model without layers")
    return tuple(_layer(keys, model_type, kind, index) for index, kind in enumerate(kinds))


def _layer(keys: Keys, model_type: str, kind: str, index: int) -> Layer:
    extra = _extra_params(keys, model_type)
    if kind == "mlp":
        return Layer((), read_mlp(keys, model_type, index), extra)
    if kind == "moe":
        return Layer((), read_experts(keys, model_type), extra)
    mixers = _mixers(keys, model_type, kind, index)
    alone = model_type == "nemotron_h"
    ffn: Mlp | Experts | None = None if alone else read_ffn(keys, model_type, index)
    return Layer(mixers, ffn, extra)


def _mixers(keys: Keys, model_type: str, kind: str, index: int) -> tuple[Mixer, ...]:
    if kind == "hybrid":
        return (read_attention(keys, model_type, kind, index), read_recurrent(keys, model_type, "mamba"))
    if kind in _RECURRENT_KINDS:
        return (read_recurrent(keys, model_type, kind),)
    attention = read_attention(keys, model_type, kind, index)
    if model_type in _ENCODER_TYPES and isinstance(attention, Attention):
        attention = replace(attention, reach=Reach.ENCODER)
    return (attention,)


def _extra_params(keys: Keys, model_type: str) -> int:
    """Small modules of one layer that every rank holds: norms, per-layer input gates, low-rank residuals."""
    hidden = hidden_of(keys)
    params = 2 * hidden
    if model_type.startswith(("gemma3n", "gemma4")):
        params += 2 * hidden * keys.integer("hidden_size_per_layer_input", default=0)
    if model_type.startswith("gemma3n"):
        params += 2 * hidden * keys.integer("laurel_rank", default=64)
    if model_type.startswith("olmo2"):
        params += (heads_of(keys) + kv_heads_of(keys, model_type)) * head_dim_of(keys)
    return params


def _outside_layers(keys: Keys, model_type: str, hidden: int, layers: int) -> tuple[int, int]:
    """Parameters outside layers and embeddings: (divided by tensor parallelism, held by every rank)."""
    width = keys.integer("hidden_size_per_layer_input", default=0)
    sharded, replicated = 0, hidden
    if model_type.startswith(("gemma3n", "gemma4")) and width:
        rows = keys.integer("vocab_size_per_layer_input", default=0)
        sharded += rows * layers * width + hidden * layers * width
    if model_type.startswith("gemma3n"):
        sharded += 2 * (keys.integer("altup_num_inputs", default=4) - 1) * hidden * hidden
    if model_type in {"bert", "roberta", "xlm-roberta"}:
        replicated += hidden * hidden
    return sharded, replicated


def _embedding_rows(keys: Keys, model_type: str) -> int:
    if model_type not in _LEARNED_POSITIONS:
        return keys.integer("type_vocab_size", default=0)
    positions = keys.integer("max_position_embeddings", "n_positions", default=0)
    return positions + keys.integer("type_vocab_size", default=0) + (2 if model_type == "opt" else 0)


def is_recurrent(mixer: Mixer) -> bool:
    """Whether a mixer has a state instead of a KV cache."""
    return isinstance(mixer, Recurrent)
