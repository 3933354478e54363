"""Which architectures are known, and which are refused with the reason.

An unknown architecture whose config.json reads like a plain decoder is planned as one, with a note that
says so.
"""

from collections.abc import Mapping

from gateway.launch.memory.terms import UnmodelledError

_KNOWN = """
llama mistral ministral ministral3 mixtral qwen qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next qwen3_5
qwen3_5_text qwen3_5_moe qwen3_5_moe_text qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen3_vl
qwen3_vl_text qwen3_vl_moe qwen3_vl_moe_text qwen2_audio qwen3_omni_moe_text qwen2_5_omni_text
qwen3_asr gemma gemma2 gemma3_text gemma3 gemma4_text gemma4 gemma3n_text gemma3n phi phi3 phi3small
phimoe phi3_v gpt2 gpt_neox gptj gpt_bigcode opt bloom falcon falcon_h1 falcon_mamba mamba mamba2
bamba jamba nemotron nemotron_h deepseek deepseek_v2 deepseek_v3 deepseek_v32 deepseek_vl_v2 kimi_k2
kimi_linear kimi_vl glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa glm4v_text glm4v_moe_text
glm_ocr_text chatglm gpt_oss llama4 llama4_text lfm2 lfm2_moe minimax minimax_text_01 minimax_m1
minimax_m2 exaone exaone4 ernie4_5 ernie4_5_moe hunyuan_v1_dense hunyuan_v1_moe seed_oss smollm3
arcee apertus granite granitemoe granitemoehybrid granitemoeshared cohere cohere2 olmo olmo2 olmo3
olmoe stablelm starcoder2 internlm2 internlm3 baichuan minicpm minicpm3 solar orion aquila bert
roberta xlm-roberta modernbert nomic_bert whisper internvl_chat internvl mistral3 pixtral llava
llava_next llava_onevision paligemma idefics3 smolvlm dots1 bailing_moe afmoe step3p5 mimo
mimo_v2_flash telechat2 mpnet decilm jais2 helium
"""
KNOWN_TYPES = frozenset(_KNOWN.split())

_REFUSED: Mapping[str, str] = {
    "deepseek_v4": "DeepSeek V4 packs compressed and sliding caches of several sizes into one block",
    "zamba2": "Zamba2 shares attention blocks between layers",
    "nemotron-nas": "every block of this Nemotron has its own head count and width",
    "mllama": "Llama 3.2 Vision's cross-attention layers are not run by current vLLM",
    "rwkv": "RWKV is not run by vLLM",
    "recurrent_gemma": "RecurrentGemma is not run by current vLLM",
    "t5": "T5 is not run by current vLLM",
    "bart": "BART is not run by current vLLM",
    "qwen4_exp": "Qwen4 experimental layers have several state layouts",
    "longcat_flash": "LongCat's double layers and zero experts are not modelled",
    "dbrx": "DBRX's nested configuration is not modelled",
    "diffusion_gemma": "block diffusion keeps a canvas per request",
}
_DRAFT_MARKS = ("eagle", "medusa", "mtp", "mlpspeculator", "dflash", "dspark")


def check_supported(model_type: str, architecture: str) -> None:
    """Refuse what would only be guessed.

    Raises:
        UnmodelledError: with the reason in plain words.
    """
    if reason := _REFUSED.get(model_type):
        raise UnmodelledError(f"{architecture or model_type} is not modelled: {reason}")
    lowered = architecture.lower()
    if any(mark in lowered for mark in _DRAFT_MARKS):
        raise UnmodelledError(f"{architecture} is a draft model: it cannot be served alone")


def notes_for(model_type: str, architecture: str) -> tuple[str, ...]:
    """What a plan should say about an architecture that is not in the list of known ones."""
    if model_type in KNOWN_TYPES:
        return ()
    name = architecture or model_type or "this model"
    sentence = (
        f"{name} is unknown to the memory model and was planned as a plain decoder: treat its numbers as "
        "a guess, and start it once so that the plan can use what was measured"
    )
    return (sentence,)
