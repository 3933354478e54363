"""Quantised storage, safetensors headers, LoRA slots, allocator rounding."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.launch.memory.allocator import allocated_bytes
from gateway.launch.memory.budget import Shape, instance_budget
from gateway.launch.memory.inventory import embedding, layer_matrices
from gateway.launch.memory.lora import LoraSlots, lora_bytes, slot_rank
from gateway.launch.memory.model import Model, Recurrent, Tower
from gateway.launch.memory.parallel import stages, tensor_parallel_problem
from gateway.launch.memory.quantization import NO_QUANTIZATION, read_quantization
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.tensors import UNKNOWN_CHECKPOINT, Checkpoint, TensorInfo, parse_header
from gateway.launch.memory.terms import GIB, MIB, Origin, UnmodelledError
from gateway.launch.memory.versions import Version
from gateway.launch.memory.weights import Split, raw_bytes, weights_term
from tests.unit.launch.builders import h100, llama_config
from tests.unit.launch.ground_truth import model_configs


def _scheme_bytes(section: dict[str, Any], capability: int | None = 90) -> int:
    """Bytes of a 1024 x 1024 matrix."""
    quantization = read_quantization({"quantization_config": section}, None, capability)
    assert quantization.scheme is not None
    return quantization.scheme.matrix_bytes(1024, 1024)


def _compressed(**weights: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, MIB + 8 * 8 * 4),
        ({"quant_method": "fp8", "activation_scheme": "static"}, MIB),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, MIB // 2 + 1024 * 8 * 2 + 1024 * 8 // 2),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, MIB // 2 + 1024 * 16 * 2 + 1024 * 16 // 2),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, MIB // 2 + 1024 * 16 * 4),
        (_compressed(num_bits=8, type="float", strategy="channel"), MIB + 4096),
        (_compressed(num_bits=8, type="int", strategy="channel"), MIB + 4096),
        (_compressed(num_bits=4, type="int", strategy="group", group_size=32), MIB // 2 + 1024 * 32 * 2),
        (_compressed(num_bits=4, type="float", strategy="tensor_group", group_size=16), MIB // 2 + 1024 * 64),
        ({"quant_algo": "NVFP4"}, MIB // 2 + 1024 * 64),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, MIB),
    ],
)
def test_a_quantised_matrix_has_the_bytes_of_its_format(section: dict[str, Any], expected: int) -> None:
    assert _scheme_bytes(section) == expected


def test_block_fp8_without_fp8_arithmetic_expands_its_scales() -> None:
    section = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    assert _scheme_bytes(section, capability=86) == MIB + 1024 * 8 * 2


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"quant_method": "hqq"}, "'hqq' is not modelled"),
        ({"quant_method": "gguf"}, "'gguf' is not modelled"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "differs from layer to layer"),
        ({"quant_method": "compressed-tensors"}, "names no weight format"),
    ],
)
def test_an_unknown_method_is_refused_by_name(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UnmodelledError, match=message):
        read_quantization({"quantization_config": section}, None, 90)


@pytest.mark.parametrize(
    ("ignore", "covered"),
    [
        (["lm_head"], True),
        (["model.layers.3.self_attn.o_proj"], False),
        (["model.layers.2.self_attn.o_proj"], True),
        (["model.layers.3.self_attn"], False),
        (["re:.*self_attn.*"], False),
        (["*self_attn*"], False),
        (["re:.*mlp.gate$"], True),
    ],
)
def test_ignore_lists_are_names_prefixes_globs_or_expressions(ignore: list[str], covered: bool) -> None:  # noqa: FBT001
    section = {**_compressed(num_bits=8, type="float", strategy="channel"), "ignore": ignore}
    quantization = read_quantization({"quantization_config": section}, None, 90)
    assert quantization.covers("self_attn.o_proj", 3) is covered


def test_the_kv_dtype_of_the_checkpoint_is_known() -> None:
    section = {
        **_compressed(num_bits=8, type="float", strategy="channel"),
        "kv_cache_scheme": {"num_bits": 8},
    }
    assert read_quantization({"quantization_config": section}, None, 90).kv_cache_dtype == "fp8"
    assert read_quantization({"quant_algo": "x"}, None, 90).kv_cache_dtype == "auto"


def _headers(model: Model, dtype: str = "BF16") -> tuple[TensorInfo, ...]:
    """The checkpoint of the small Llama, as its safetensors header would list it."""
    hidden, inner, kv = 512, 2048, 128
    tensors = [
        TensorInfo("model.embed_tokens.weight", dtype, (32000, hidden)),
        TensorInfo("lm_head.weight", dtype, (32000, hidden)),
        TensorInfo("model.norm.weight", dtype, (hidden,)),
    ]
    for layer in range(len(model.layers)):
        prefix = f"model.layers.{layer}"
        shapes = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        tensors += [TensorInfo(f"{prefix}.{name}.weight", dtype, shape) for name, shape in shapes.items()]
    return tuple(tensors)


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_headers_and_config_agree_on_every_split(tp: int) -> None:
    model = read_model(llama_config())
    by_config = weights_term(model, NO_QUANTIZATION, Split(tp), UNKNOWN_CHECKPOINT)
    by_header = weights_term(model, NO_QUANTIZATION, Split(tp), Checkpoint(_headers(model)))
    assert by_header.size_bytes == pytest.approx(by_config.size_bytes, rel=0.002)
    assert (by_config.origin, by_header.origin) == (Origin.CONFIG, Origin.EXACT)


def test_float32_files_are_loaded_in_sixteen_bit() -> None:
    model = read_model(llama_config())
    half = weights_term(model, NO_QUANTIZATION, Split(), Checkpoint(_headers(model)))
    full = weights_term(model, NO_QUANTIZATION, Split(), Checkpoint(_headers(model, "F32")))
    assert half == full


def test_a_sixteen_bit_checkpoint_quantised_while_loading_is_counted_in_eight() -> None:
    model = read_model(llama_config())
    online = read_quantization({}, "fp8", 90)
    by_header = weights_term(model, online, Split(), Checkpoint(_headers(model)))
    by_config = weights_term(model, online, Split(), UNKNOWN_CHECKPOINT)
    assert by_header.size_bytes == pytest.approx(by_config.size_bytes, rel=0.002)
    full = weights_term(model, NO_QUANTIZATION, Split(), UNKNOWN_CHECKPOINT)
    assert by_config.size_bytes < 0.9 * full.size_bytes


def test_tensors_that_vllm_does_not_load_are_not_counted() -> None:
    model = read_model(llama_config())
    tensors = _headers(model)
    extra = (
        TensorInfo("mtp.layers.0.weight", "BF16", (4096, 4096)),
        TensorInfo("model.layers.4.mlp.up_proj.weight", "BF16", (4096, 4096)),
    )
    plain = weights_term(model, NO_QUANTIZATION, Split(), Checkpoint(tensors))
    assert weights_term(model, NO_QUANTIZATION, Split(), Checkpoint(tensors + extra)) == plain


def test_a_tied_head_in_the_file_is_not_loaded_twice() -> None:
    model = read_model(llama_config(tie_word_embeddings=True))
    untied = read_model(llama_config())
    tied_bytes = weights_term(model, NO_QUANTIZATION, Split(), Checkpoint(_headers(model))).size_bytes
    untied_bytes = weights_term(untied, NO_QUANTIZATION, Split(), Checkpoint(_headers(untied))).size_bytes
    assert untied_bytes - tied_bytes == pytest.approx(32000 * 512 * 2, rel=0.1)


def test_an_index_that_contradicts_the_config_wins() -> None:
    model = read_model(llama_config())
    whole = raw_bytes(model, NO_QUANTIZATION, 2)
    agreeing = weights_term(model, NO_QUANTIZATION, Split(), Checkpoint((), int(whole * 1.02)))
    larger = weights_term(model, NO_QUANTIZATION, Split(), Checkpoint((), whole * 2))
    plain = weights_term(model, NO_QUANTIZATION, Split(), UNKNOWN_CHECKPOINT)
    assert agreeing == plain
    assert larger.size_bytes == pytest.approx(2 * plain.size_bytes, rel=0.01)


def test_header_entries_that_are_no_tensors_are_skipped() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "weight": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
        "odd": 3,
    }
    assert list(parse_header(header)) == [TensorInfo("weight", "F16", (2, 3))]


def test_lora_slots_of_llama_8b_take_80_mib_each_without_the_vocabulary() -> None:
    model = read_model(model_configs()["meta-llama/Llama-3.1-8B-Instruct"])
    one = lora_bytes(model, LoraSlots(1, 16), 1)
    vocabulary = 2 * 16 * (4096 + 128256) * 2
    assert one - vocabulary == 80 * MIB
    assert lora_bytes(model, LoraSlots(3, 16), 1) == 3 * one
    # What vLLM 0.32 allocates for two slots on one of two ranks.
    assert lora_bytes(model, LoraSlots(2, 16), 2) == 130_187_264


def test_lora_ranks_are_rounded_up_to_what_vllm_accepts() -> None:
    assert [slot_rank(rank) for rank in (1, 5, 16, 24, 300)] == [1, 8, 16, 32, 320]
    with pytest.raises(UnmodelledError, match="more than vLLM's largest"):
        slot_rank(1024)


@given(st.integers(1, 2 * GIB))
def test_the_allocator_never_counts_less_nor_a_mebibyte_more(size: int) -> None:
    assert size <= allocated_bytes(size) <= size + MIB + 512


@given(st.integers(1, 200), st.integers(1, 8))
def test_pipeline_stages_cover_every_layer_once(layers: int, pp: int) -> None:
    bounds = stages(layers, pp)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == layers
    assert all(before[1] == after[0] for before, after in pairwise(bounds))


def test_heads_must_divide_over_the_gpus() -> None:
    model = read_model(llama_config())
    assert tensor_parallel_problem(model, 4) == ""
    assert "8 attention heads cannot be divided by 3" in tensor_parallel_problem(model, 3)


def test_embeddings_are_served_without_the_lm_head() -> None:
    model = read_model(llama_config())
    for checkpoint in (UNKNOWN_CHECKPOINT, Checkpoint(_headers(model))):
        whole, pooled = (
            weights_term(model, NO_QUANTIZATION, Split(pools=pools), checkpoint).size_bytes
            for pools in (False, True)
        )
        assert whole - pooled == pytest.approx(model.hidden * model.vocab * 2, abs=2 * MIB)


def test_mamba_groups_are_repeated_where_they_do_not_divide() -> None:
    config = model_configs()["nvidia/Nemotron-3-Nano-30B-A3B"]
    few = read_model(config | {"n_groups": 1})
    layer = next(index for index, kept in enumerate(few.layers) if isinstance(kept.mixers[0], Recurrent))
    rows = {
        tp: next(
            m.out_features for m in layer_matrices(few.layers[layer], 0, 64, tp) if "in_proj" in m.module
        )
        for tp in (1, 4)
    }
    groups = 2 * config["ssm_state_size"]
    assert rows[4] == (rows[1] - groups) // 4 + groups


def test_what_ranks_hold_whole_of_an_encoder_is_not_divided() -> None:
    tower = Tower("vision", 1000, sharded=True, replicated=200)
    model = replace(read_model(llama_config()), towers=(tower,))
    assert [m.out_features for m in embedding(model, 4) if m.module == "visual"] == [200 + 800 // 4]


def test_widths_and_groups_that_do_not_divide_are_refused() -> None:
    odd = read_model(llama_config(intermediate_size=1028))
    assert tensor_parallel_problem(odd, 4) == ""
    assert "a feed-forward width of 1028" in tensor_parallel_problem(odd, 8)
    for groups, problem in ((1, ""), (2, "2 state groups"), (4, "")):
        mamba = read_model(model_configs()["nvidia/Nemotron-3-Nano-30B-A3B"] | {"n_groups": groups})
        assert tensor_parallel_problem(mamba, 4).startswith(problem)
        assert bool(tensor_parallel_problem(mamba, 4)) is bool(problem)


def test_an_encoder_whose_heads_do_not_divide_is_refused() -> None:
    model = replace(read_model(llama_config()), towers=(Tower("vision", 1000, sharded=True, heads=12),))
    assert tensor_parallel_problem(model, 4) == ""
    assert "12 attention heads of the vision encoder" in tensor_parallel_problem(model, 8)


@pytest.mark.parametrize(("version", "warned"), [(Version(0, 28), False), (Version(0, 29), True)])
def test_a_vllm_without_bitsandbytes_is_said(version: Version, warned: bool) -> None:  # noqa: FBT001 - a parameter
    model = read_model(llama_config())
    stored = read_quantization(
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, None, 90
    )
    budget = instance_budget(model, stored, Shape(version=version), h100())
    assert any("bitsandbytes" in warning for warning in budget.warnings) is warned


def _covered(section: dict[str, Any], module: str, layer: int) -> bool:
    return read_quantization({"quantization_config": section}, None, 90).covers(module, layer)


@pytest.mark.parametrize(
    "exceptions",
    [
        {"quant_method": "gptq", "dynamic": {r"-:.*layers\.1\.mlp.*": {}}},
        {"quant_method": "auto-round", "extra_config": {"model.layers.1.mlp.down_proj": {"bits": 16}}},
        {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "llm_int8_skip_modules": ["model.layers.1.mlp"],
        },
    ],
)
def test_modules_left_out_of_quantisation_are_found(exceptions: dict[str, Any]) -> None:
    section = {"bits": 4, "group_size": 128} | exceptions
    assert not _covered(section, "mlp.down_proj", 1)
    assert _covered(section, "mlp.down_proj", 2)


@pytest.mark.parametrize(
    "section",
    [
        {"quant_method": "gptq", "bits": 4, "dynamic": {r"+:.*mlp.*": {"bits": 8}}},
        {"quant_method": "auto-round", "bits": 2, "extra_config": {"model.layers.0.mlp": {"bits": 4}}},
        _compressed(num_bits=8, type="float") | {"sparsity_config": {"format": "sparse-24-bitmask"}},
    ],
)
def test_weights_in_several_or_sparse_formats_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(UnmodelledError, match="is not modelled"):
        read_quantization({"quantization_config": section}, None, 90)
