"""Values that the vision and audio sections of config.json leave out, by their own `model_type`.

Source: the configuration classes of transformers 5.19.
"""

from collections.abc import Mapping

_SIGLIP = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "patch_size": 16,
    "image_size": 224,
}
_QWEN_VISION = {
    "hidden_size": 1152,
    "depth": 27,
    "intermediate_size": 4304,
    "num_heads": 16,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 3584,
}
TOWER_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "siglip_vision_model": _SIGLIP,
    "siglip2_vision_model": _SIGLIP,
    "clip_vision_model": _SIGLIP | {"patch_size": 32},
    "idefics3": _SIGLIP | {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32},
    "idefics3_vision": _SIGLIP | {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32},
    "smolvlm_vision": _SIGLIP | {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32},
    "pixtral": {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "patch_size": 16},
    "qwen2_vl": {
        "embed_dim": 1280,
        "depth": 32,
        "mlp_ratio": 4,
        "hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "qwen2_5_vl": {
        "hidden_size": 1280,
        "depth": 32,
        "intermediate_size": 3420,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "qwen3_vl": _QWEN_VISION,
    "qwen3_vl_moe": _QWEN_VISION,
    "qwen3_5_vision": _QWEN_VISION,
    "qwen3_5_moe": _QWEN_VISION,
    "glm_ocr_vision": {
        "hidden_size": 1024,
        "depth": 24,
        "intermediate_size": 4096,
        "num_heads": 16,
        "patch_size": 14,
        "out_hidden_size": 1536,
    },
    "glm4v_vision": {
        "hidden_size": 1536,
        "depth": 24,
        "intermediate_size": 13696,
        "num_heads": 12,
        "patch_size": 14,
        "out_hidden_size": 4096,
    },
    "internvl_vision": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "intermediate_size": 4096,
        "patch_size": 14,
    },
    "intern_vit_6b": {
        "hidden_size": 3200,
        "num_hidden_layers": 45,
        "intermediate_size": 12800,
        "patch_size": 14,
    },
    "gemma4_vision": {
        "hidden_size": 768,
        "num_hidden_layers": 16,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "patch_size": 16,
    },
    "llama4_vision_model": {
        "hidden_size": 768,
        "num_hidden_layers": 34,
        "num_attention_heads": 16,
        "intermediate_size": 5632,
        "patch_size": 14,
    },
    "qwen2_audio_encoder": {
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_ffn_dim": 5120,
        "num_mel_bins": 128,
    },
    "voxtral_encoder": {"hidden_size": 1280, "num_hidden_layers": 32, "intermediate_size": 5120},
    "qwen3_omni_moe_audio_encoder": {
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_ffn_dim": 5120,
        "num_mel_bins": 128,
    },
}
