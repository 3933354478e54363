"""Finding the text model inside a config.json.

Multimodal checkpoints keep it in `text_config`, `llm_config`, `language_config` or deeper; plain ones at
top level.
"""

from collections.abc import Mapping

from gateway.launch.memory.reading.defaults import FAMILY_DEFAULTS
from gateway.launch.memory.reading.keys import Json, Keys

_TEXT_SECTIONS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder_config")
_TEXT_TYPE_OF = {
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "llama4": "llama4_text",
    "glm4v": "glm4v_text",
}
_INHERITED = ("dtype", "torch_dtype", "tie_word_embeddings", "quantization_config", "architectures")


def text_section(config: Json) -> Keys:
    """The language model's section with its family's defaults and what it inherits from the outside."""
    section: dict[str, object] = dict(config)
    name = "config.json"
    while nested := next((key for key in _TEXT_SECTIONS if isinstance(section.get(key), Mapping)), None):
        inner = section[nested]
        if not isinstance(inner, Mapping):
            break
        outer = section
        section = {key: outer[key] for key in _INHERITED if outer.get(key) is not None}
        section |= {key: value for key, value in inner.items() if value is not None or key not in _INHERITED}
        if "model_type" not in inner and isinstance(outer.get("model_type"), str):
            section["model_type"] = outer["model_type"]
        name = f"config.json: {nested}"
    model_type = str(section.get("model_type") or _type_of_architecture(config))
    return Keys(section, FAMILY_DEFAULTS.get(_TEXT_TYPE_OF.get(model_type, model_type), {}), name)


def model_type_of(keys: Keys, architecture: str) -> str:
    """The family's name: `model_type`, or derived from the architecture where a file has only that."""
    return keys.text("model_type") or _ARCHITECTURE_TYPES.get(architecture, "")


def _type_of_architecture(config: Json) -> str:
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures:
        return _ARCHITECTURE_TYPES.get(str(architectures[0]), "")
    return ""


_ARCHITECTURE_TYPES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "Qwen3NextForCausalLM": "qwen3_next",
    "Qwen3_5ForConditionalGeneration": "qwen3_5",
    "Qwen3_5MoeForConditionalGeneration": "qwen3_5_moe",
    "Qwen3_5ForCausalLM": "qwen3_5_text",
    "Qwen3_5MoeForCausalLM": "qwen3_5_moe_text",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
    "Gemma3ForConditionalGeneration": "gemma3",
    "Gemma3TextModel": "gemma3_text",
    "Gemma3nForConditionalGeneration": "gemma3n",
    "Gemma4ForCausalLM": "gemma4_text",
    "Gemma4ForConditionalGeneration": "gemma4",
    "PhiForCausalLM": "phi",
    "Phi3ForCausalLM": "phi3",
    "PhiMoEForCausalLM": "phimoe",
    "GptOssForCausalLM": "gpt_oss",
    "OPTForCausalLM": "opt",
    "GPT2LMHeadModel": "gpt2",
    "GPTNeoXForCausalLM": "gpt_neox",
    "GPTJForCausalLM": "gptj",
    "GPTBigCodeForCausalLM": "gpt_bigcode",
    "BloomForCausalLM": "bloom",
    "FalconForCausalLM": "falcon",
    "FalconH1ForCausalLM": "falcon_h1",
    "FalconMambaForCausalLM": "falcon_mamba",
    "MambaForCausalLM": "mamba",
    "Mamba2ForCausalLM": "mamba2",
    "JambaForCausalLM": "jamba",
    "BambaForCausalLM": "bamba",
    "NemotronForCausalLM": "nemotron",
    "NemotronHForCausalLM": "nemotron_h",
    "DeciLMForCausalLM": "nemotron-nas",
    "DeepseekForCausalLM": "deepseek",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "DeepseekV32ForCausalLM": "deepseek_v32",
    "DeepseekV4ForCausalLM": "deepseek_v4",
    "KimiLinearForCausalLM": "kimi_linear",
    "GlmForCausalLM": "glm",
    "Glm4ForCausalLM": "glm4",
    "Glm4MoeForCausalLM": "glm4_moe",
    "Glm4MoeLiteForCausalLM": "glm4_moe_lite",
    "GlmMoeDsaForCausalLM": "glm_moe_dsa",
    "ChatGLMModel": "chatglm",
    "GraniteForCausalLM": "granite",
    "GraniteMoeForCausalLM": "granitemoe",
    "GraniteMoeHybridForCausalLM": "granitemoehybrid",
    "GraniteMoeSharedForCausalLM": "granitemoeshared",
    "CohereForCausalLM": "cohere",
    "Cohere2ForCausalLM": "cohere2",
    "OlmoForCausalLM": "olmo",
    "Olmo2ForCausalLM": "olmo2",
    "Olmo3ForCausalLM": "olmo3",
    "OlmoeForCausalLM": "olmoe",
    "StableLmForCausalLM": "stablelm",
    "Starcoder2ForCausalLM": "starcoder2",
    "ExaoneForCausalLM": "exaone",
    "Exaone4ForCausalLM": "exaone4",
    "Lfm2ForCausalLM": "lfm2",
    "Lfm2MoeForCausalLM": "lfm2_moe",
    "Llama4ForConditionalGeneration": "llama4",
    "MiniMaxText01ForCausalLM": "minimax_text_01",
    "MiniMaxM1ForCausalLM": "minimax_m1",
    "MiniMaxForCausalLM": "minimax",
    "MiniMaxM2ForCausalLM": "minimax_m2",
    "SeedOssForCausalLM": "seed_oss",
    "SmolLM3ForCausalLM": "smollm3",
    "WhisperForConditionalGeneration": "whisper",
    "BertModel": "bert",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "xlm-roberta",
    "ModernBertModel": "modernbert",
    "NomicBertModel": "nomic_bert",
}
