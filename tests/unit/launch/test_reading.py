"""config.json of many families, read into one vocabulary."""

from typing import Any

import pytest

from gateway.launch.memory.model import Attention, Experts, LatentAttention, Mlp, Reach, Recurrent, Task
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import UnmodelledError
from tests.unit.launch.builders import BGE_M3, llama_config


def _reaches(config: dict[str, Any]) -> list[Reach]:
    return [mixer.reach for mixer in read_model(config).mixers if isinstance(mixer, Attention)]


def test_a_config_without_sliding_window_attends_to_everything() -> None:
    assert (
        _reaches(llama_config(architectures=["MistralForCausalLM"], model_type="mistral")) == [Reach.FULL] * 4
    )


def test_mistral_with_a_window_slides_in_every_layer() -> None:
    config = llama_config(architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=1024)
    assert _reaches(config) == [Reach.SLIDING] * 4


def test_an_unused_window_is_ignored() -> None:
    config = llama_config(model_type="qwen2", sliding_window=1024, use_sliding_window=False)
    assert _reaches(config) == [Reach.FULL] * 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "gemma2", "sliding_window": 512}, "sfsf"),
        ({"model_type": "gpt_oss", "sliding_window": 128}, "sfsf"),
        ({"model_type": "gemma3_text", "sliding_window": 512, "sliding_window_pattern": 2}, "sfsf"),
        ({"model_type": "exaone4", "sliding_window": 512, "sliding_window_pattern": "LLLG"}, "sssf"),
        ({"model_type": "cohere2"}, "sssf"),
        ({"layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 8}, "fsfs"),
        ({"model_type": "llama4_text", "attention_chunk_size": 64}, "cccf"),
        ({"model_type": "llama4_text", "attention_chunk_size": 64, "no_rope_layers": [1, 0, 1, 0]}, "cfcf"),
    ],
)
def test_window_patterns_are_told_from_what_each_family_writes(
    changes: dict[str, Any], expected: str
) -> None:
    assert "".join(reach.value[0] for reach in _reaches(llama_config(**changes))) == expected


def test_gemma_3_takes_what_its_file_leaves_out_from_the_class_defaults() -> None:
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_hidden_layers": 27},
    }
    model = read_model(config)
    first = model.mixers[0]
    assert isinstance(first, Attention)
    assert (first.heads, first.kv_heads, first.head_dim) == (8, 4, 256)
    assert model.vocab == 262208
    assert model.tied_embeddings
    assert model.is_multimodal


def test_a_null_in_the_file_overrides_a_default() -> None:
    config = llama_config(model_type="gemma2", sliding_window=None)
    assert _reaches(config) == [Reach.FULL] * 4


def test_deepseek_has_latent_attention_dense_layers_first_and_shared_experts() -> None:
    config = llama_config(
        model_type="deepseek_v3",
        kv_lora_rank=64,
        qk_rope_head_dim=16,
        qk_nope_head_dim=32,
        v_head_dim=32,
        n_routed_experts=8,
        n_shared_experts=2,
        moe_intermediate_size=128,
        first_k_dense_replace=1,
    )
    model = read_model(config)
    assert isinstance(model.mixers[0], LatentAttention)
    assert isinstance(model.layers[0].ffn, Mlp)
    experts = model.layers[1].ffn
    assert isinstance(experts, Experts)
    assert experts.shared_intermediate == 256


def test_nemotron_h_letters_are_layers_with_one_block_each() -> None:
    config = llama_config(
        architectures=["NemotronHForCausalLM"],
        model_type="nemotron_h",
        hybrid_override_pattern="M*-E",
        mamba_num_heads=8,
        mamba_head_dim=64,
        n_routed_experts=4,
        moe_intermediate_size=64,
        moe_shared_expert_intermediate_size=128,
        n_shared_experts=1,
    )
    layers = read_model(config).layers
    assert isinstance(layers[0].mixers[0], Recurrent)
    assert layers[0].ffn is None
    assert isinstance(layers[1].mixers[0], Attention)
    assert isinstance(layers[2].ffn, Mlp)
    assert isinstance(layers[3].ffn, Experts)


def test_encoders_cache_nothing_and_pool() -> None:
    model = read_model(BGE_M3)
    assert model.task is Task.POOL
    assert {mixer.reach for mixer in model.mixers if isinstance(mixer, Attention)} == {Reach.ENCODER}
    assert model.max_positions == 8192


def test_whisper_has_self_and_cross_attention_in_its_decoder() -> None:
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": 512,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "vocab_size": 51865,
        "max_source_positions": 1500,
    }
    model = read_model(config)
    assert model.task is Task.TRANSCRIBE
    assert len(model.layers[-1].mixers) == 2
    assert model.cross_tokens == 1500


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 16384),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 4096),
        ({"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 2048}, 2048),
    ],
)
def test_the_default_context_follows_vllms_rules_for_rope_scaling(
    changes: dict[str, Any], length: int
) -> None:
    assert read_model(llama_config(**changes)).max_positions == length


def test_float32_checkpoints_are_run_in_sixteen_bit() -> None:
    assert read_model(llama_config(torch_dtype="float32")).dtype == "bfloat16"


def test_an_unknown_architecture_is_planned_as_a_decoder_with_a_plain_warning() -> None:
    model = read_model(llama_config(architectures=["FooForCausalLM"], model_type="foo"))
    assert model.notes[0].startswith("FooForCausalLM is unknown to the memory model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "deepseek_v4", "architectures": ["DeepseekV4ForCausalLM"]}, "is not modelled"),
        ({"architectures": ["Eagle3LlamaForCausalLM"]}, "draft model"),
        ({"hidden_size": None}, "has no hidden_size"),
        ({"num_hidden_layers": "many"}, "not a whole number"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "M?"}, "unknown letter"),
        ({"layer_types": ["spiral_attention"] * 4}, "spiral_attention"),
        ({"architectures": [], "model_type": ""}, "neither an architecture nor a model_type"),
    ],
)
def test_what_is_not_modelled_is_refused_in_plain_words(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnmodelledError, match=message):
        read_model(llama_config(**changes))


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("ChatGLMModel", Task.GENERATE),
        ("GPT2LMHeadModel", Task.GENERATE),
        ("InternVLChatModel", Task.GENERATE),
        ("LlamaForCausalLM", Task.GENERATE),
        ("LlamaModel", Task.POOL),
        ("LlamaForSequenceClassification", Task.POOL),
        ("Qwen2ForProcessRewardModel", Task.POOL),
    ],
)
def test_a_name_that_ends_with_model_may_still_generate(architecture: str, task: Task) -> None:
    assert read_model(llama_config(architectures=[architecture])).task is task


def test_images_alone_may_be_seen_both_ways_while_text_is_cached() -> None:
    gemma = read_model(llama_config(model_type="gemma4_text", use_bidirectional_attention="vision"))
    assert {m.reach for m in gemma.mixers if isinstance(m, Attention)} != {Reach.ENCODER}


@pytest.mark.parametrize(
    "changes",
    [
        {"is_causal": False},
        {"architectures": ["LlamaBidirectionalModel"]},
        {"architectures": ["Gemma3TextModel"], "use_bidirectional_attention": True},
    ],
)
def test_what_sees_both_ways_caches_nothing(changes: dict[str, Any]) -> None:
    mixers = read_model(llama_config(**changes)).mixers
    assert {m.reach for m in mixers if isinstance(m, Attention)} == {Reach.ENCODER}


def test_command_r_has_the_length_it_was_extended_to() -> None:
    assert read_model(llama_config(model_max_length=131072)).max_positions == 131072


def test_long_rope_starts_short_and_may_be_raised() -> None:
    config = llama_config(
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        rope_scaling={"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]},
    )
    model = read_model(config)
    assert (model.max_positions, model.most_positions) == (4096, 131072)


def test_qwen_uses_its_window_only_where_it_says_so() -> None:
    config = llama_config(model_type="qwen2", sliding_window=1024)
    reaches = [
        {m.reach for m in read_model(config | more).mixers if isinstance(m, Attention)}
        for more in ({}, {"use_sliding_window": True, "max_window_layers": 0})
    ]
    assert reaches == [{Reach.FULL}, {Reach.SLIDING}]


def test_an_encoder_that_the_file_does_not_describe_is_said() -> None:
    (note,) = read_model(llama_config(mm_vision_tower="openai/clip-vit-large-patch14-336")).notes
    assert "encoder for images" in note


def test_phi_3_vision_has_the_encoder_that_its_code_names() -> None:
    model = read_model(llama_config(model_type="phi3_v", img_processor={"image_dim_out": 1024}))
    assert model.towers[0].params == pytest.approx(304e6, rel=0.02)


def test_gemma_3n_has_a_convolutional_encoder() -> None:
    config = {
        "architectures": ["Gemma3nForConditionalGeneration"],
        "model_type": "gemma3n",
        "text_config": {"model_type": "gemma3n_text"},
        "vision_config": {"model_type": "gemma3n_vision", "hidden_size": 2048},
    }
    (tower,) = read_model(config).towers
    assert not tower.sharded
