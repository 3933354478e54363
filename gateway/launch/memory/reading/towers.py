"""Vision and audio encoders, from config.json.

A tower is a few per cent of most models, so its parameters are counted from depth, width and feed-forward
size; projectors by the known recipes. Accuracy is a few per cent of the tower, which is far below one of
the model.
"""

from collections.abc import Callable, Mapping

from gateway.launch.memory.model import Tower
from gateway.launch.memory.reading.keys import Json, Keys
from gateway.launch.memory.reading.tower_defaults import TOWER_DEFAULTS

_GATED_VISION = frozenset(
    {"qwen2_5_vl", "pixtral", "glm4v", "glm4v_moe", "glm_ocr", "gemma4", "gemma3n", "kimi_k25"}
)
_CLIP_LARGE = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "image_size": 336,
    "patch_size": 14,
}
"""The encoder that every Phi-3 Vision has (vLLM `models/phi3v.py`)."""
_WHOLE_AUDIO = frozenset({"qwen2_audio_encoder", "gemma3n_audio", "gemma4_audio"})
"""Encoders that vLLM takes from transformers, so that every rank holds them."""
_UNREAD = ("img_processor", "audio_processor", "mm_vision_tower", "vision_tower", "visual", "audio_cfg")
_MOBILENET_V5 = 340_000_000
"""Parameters of Gemma 3n's convolutional encoder with its embedder: checkpoint sizes less everything else."""
_AUDIO_SECTIONS = ("audio_config", "audio_encoder_config", "whisper_config", "encoder_config")


def read_towers(config: Json, hidden: int) -> tuple[Tower, ...]:
    """The encoders of a multimodal model; empty for a text model.

    Args:
        config: the whole config.json.
        hidden: width of the language model.
    """
    outer = config
    thinker = config.get("thinker_config")
    if isinstance(thinker, Mapping):
        outer = thinker
    towers = []
    vision = outer.get("vision_config") or outer.get("vit_config")
    if outer.get("model_type") == "phi3_v" and isinstance(outer.get("img_processor"), Mapping):
        vision = _CLIP_LARGE
    if isinstance(vision, Mapping):
        towers.append(_vision(vision, outer, hidden))
    for name in _AUDIO_SECTIONS:
        audio = outer.get(name)
        if isinstance(audio, Mapping) and audio:
            towers.append(_audio(audio, hidden))
            break
    return tuple(towers)


def tower_notes(config: Json, towers: tuple[Tower, ...]) -> tuple[str, ...]:
    """What a plan should say where a model has an encoder whose size its config.json does not tell."""
    if towers or not any(config.get(name) for name in _UNREAD):
        return ()
    sentence = (
        "it has an encoder for images or sound that config.json does not describe: unless its safetensors "
        "files are here, the weights are more than planned"
    )
    return (sentence,)


def _vision(section: Json, outer: Json, hidden: int) -> Tower:
    family = str(outer.get("model_type") or "")
    own_type = str(section.get("model_type") or family)
    if own_type == "gemma3n_vision":
        return Tower("vision", _MOBILENET_V5, sharded=False, tokens_per_item=256, hidden=2048)
    defaults = TOWER_DEFAULTS.get(own_type) or TOWER_DEFAULTS.get(family, {})
    keys = Keys(section, defaults, "config.json: vision_config")
    qwen2 = own_type == "qwen2_vl" or (family == "qwen2_vl")
    width = (
        keys.integer("embed_dim", default=1280)
        if qwen2
        else keys.integer("hidden_size", "width", "embed_dim")
    )
    depth = keys.integer("num_hidden_layers", "depth", "layers", "num_layers")
    ratio = keys.number("mlp_ratio", default=4)
    inner = int(width * ratio) if qwen2 else keys.integer("intermediate_size", default=int(width * ratio))
    if own_type.startswith("glm4v"):
        inner = keys.integer("out_hidden_size", default=hidden)
    gated = any(own_type.startswith(name) for name in _GATED_VISION)
    per_layer = 4 * width * width + (3 if gated else 2) * width * inner
    patch = keys.integer("patch_size", default=14)
    temporal = keys.integer("temporal_patch_size", default=1)
    merge = keys.integer("spatial_merge_size", default=1)
    positions = keys.integer("num_position_embeddings", "position_embedding_size", default=0)
    image = keys.integer("image_size", default=0)
    if own_type != "pixtral":  # which turns its patches instead
        positions = positions or (image // patch) ** 2
    embedded = (3 * patch * patch * temporal + positions) * width
    projector, divided = _projector(keys, outer, width, hidden, merge)
    params = depth * per_layer + embedded + projector
    tokens = (image // patch) ** 2 // (merge * merge) if image else 0
    return Tower(
        "vision",
        params,
        sharded=True,
        replicated=embedded + projector - divided,
        tokens_per_item=tokens,
        hidden=width,
        intermediate=inner,
        merge=merge**2,
        heads=0
        if family.startswith("intern")
        else keys.integer("num_heads", "num_attention_heads", default=0),
    )


def _projector(keys: Keys, outer: Json, width: int, hidden: int, merge: int) -> tuple[int, int]:
    """Parameters between encoder and language model, and how many of them tensor parallelism divides.

    The default is LLaVA's two-layer projector.
    """
    family = str(outer.get("model_type") or "")
    out = keys.integer("out_hidden_size", default=hidden)
    if family.startswith("glm"):
        inner = 3 * out if family == "glm_ocr" else keys.integer("intermediate_size", default=3 * out)
        size = width * merge * merge * out + out * out + 3 * out * inner
    elif family.startswith("qwen"):
        merged = width * merge * merge
        size = (1 + len(keys.integers("deepstack_visual_indexes"))) * merged * (merged + out)
    elif family in {"idefics3", "smolvlm"}:
        scale = Keys(outer, {}).integer("scale_factor", default=2)
        size = width * scale * scale * hidden
    elif family == "kimi_vl":
        size = 4 * width * (4 * width + hidden)
    else:
        rule = next((rule for name, rule in _PROJECTORS.items() if family.startswith(name)), None)
        size = rule(width, hidden) if rule else width * hidden + hidden * hidden
    if family == "mistral3":
        return size, size - 4 * width * width  # its patch merger is whole on every rank
    return size, 0 if family.startswith(_WHOLE_PROJECTORS) else size


_WHOLE_PROJECTORS = ("gemma", "paligemma", "idefics3", "smolvlm", "kimi_vl", "intern", "phi3_v")
"""Families whose projector every rank holds."""
_PROJECTORS: Mapping[str, Callable[[int, int], int]] = {
    "phi3_v": lambda width, hidden: 4 * width * hidden + hidden * hidden,
    "intern": lambda width, hidden: 4 * width * hidden + hidden * hidden,
    "mistral3": lambda width, hidden: 4 * width * width + width * hidden + hidden * hidden,
    "gemma": lambda width, hidden: width * hidden,
    "paligemma": lambda width, hidden: width * hidden,
    "llama4": lambda _width, hidden: 4096 * (5632 + 4096) + 4096 * hidden,
}


def _audio(section: Json, hidden: int) -> Tower:
    own_type = str(section.get("model_type") or "")
    keys = Keys(section, TOWER_DEFAULTS.get(own_type, {}), "config.json: audio_config")
    width = keys.integer("d_model", "hidden_size", "output_dim", "encoder_dim", default=1280)
    depth = keys.integer(
        "encoder_layers", "num_hidden_layers", "conf_num_hidden_layers", "num_layers", default=32
    )
    inner = keys.integer("encoder_ffn_dim", "intermediate_size", default=4 * width)
    conformer = keys.has("conf_num_hidden_layers") or own_type in {"gemma3n_audio", "gemma4_audio"}
    per_layer = (
        4 * width * width + (4 if conformer else 2) * width * inner + (3 * width * width if conformer else 0)
    )
    params = depth * per_layer + 3 * width * width + width * hidden + hidden * hidden
    return Tower("audio", params, own_type not in _WHOLE_AUDIO, hidden=width, intermediate=inner)
