"""The KV cache arithmetic: groups, blocks, tokens, requests."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.launch.memory.attention import CacheFormat, CacheKind
from gateway.launch.memory.budget import InstanceBudget, Shape, instance_budget
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.geometry import CacheGeometry, CacheRequest, cache_geometry
from gateway.launch.memory.quantization import NO_QUANTIZATION
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import GIB, UnmodelledError
from gateway.launch.memory.versions import CURRENT, Version, parse_version
from tests.unit.launch.builders import BGE_M3, h100, llama_config
from tests.unit.launch.ground_truth import model_configs


def _geometry(config: dict[str, Any], **options: Any) -> CacheGeometry:
    tp = options.pop("tp", 1)
    fmt = CacheFormat(tp, options.pop("kv_dtype", "auto"), options.pop("block", 16), "bfloat16")
    request = CacheRequest(
        fmt=fmt,
        pp=options.pop("pp", 1),
        max_model_len=options.pop("length", 4096),
        max_num_batched_tokens=options.pop("batched", 2048),
        version=options.pop("version", CURRENT),
        **options,
    )
    return cache_geometry(read_model(config), request)


def _named(name: str, **options: Any) -> CacheGeometry:
    return _geometry(model_configs()[name], **options)


def test_a_plain_decoder_caches_two_vectors_per_head_layer_and_token() -> None:
    geometry = _geometry(llama_config())
    assert geometry.bytes_per_block == 4 * 16 * 2 * 2 * 64 * 2
    assert len(geometry.groups) == 1


def test_heads_are_divided_then_repeated_when_there_are_more_gpus_than_heads() -> None:
    sizes = [_geometry(llama_config(), tp=tp).bytes_per_block for tp in (1, 2, 4, 8)]
    assert sizes == [sizes[0], sizes[0] // 2, sizes[0] // 2, sizes[0] // 2]


def test_fp8_halves_the_cache() -> None:
    assert (
        _geometry(llama_config(), kv_dtype="fp8").bytes_per_block * 2
        == _geometry(llama_config()).bytes_per_block
    )


def test_latent_attention_is_never_divided() -> None:
    one = _named("deepseek-ai/DeepSeek-V3", block=64)
    assert one.bytes_per_block == 61 * 64 * 576 * 2
    assert _named("deepseek-ai/DeepSeek-V3", block=64, tp=8).bytes_per_block == one.bytes_per_block


def test_the_sparse_indexer_has_a_cache_of_its_own() -> None:
    assert _named("zai-org/GLM-5", block=64, tp=8).bytes_per_block == 78 * 64 * (1152 + 132)


def test_sparse_latent_attention_in_fp8_uses_the_packed_format() -> None:
    assert _named("zai-org/GLM-5", block=64, kv_dtype="fp8").bytes_per_block == 78 * 64 * (656 + 132)


def test_gemma_3_pads_its_global_layers_to_whole_groups() -> None:
    geometry = _named("google/gemma-3-1b-it", length=2048)
    assert sum(group.layers for group in geometry.groups) == 26
    assert len(geometry.groups) == 7
    assert geometry.padding_layers == 2


def test_a_gated_delta_net_hybrid_enlarges_its_block_to_hold_a_state() -> None:
    assert _named("Qwen/Qwen3.5-27B", tp=2).block_tokens == 784
    assert _named("Qwen/Qwen3.5-27B", kv_dtype="fp8").block_tokens == 1568
    assert _named("Qwen/Qwen3.5-35B-A3B", kv_dtype="fp8").block_tokens == 2096
    assert _named("nvidia/Nemotron-3-Nano-30B-A3B", kv_dtype="fp8", tp=2).block_tokens == 4176


def test_recurrent_layers_hold_two_states_only_with_prefix_caching() -> None:
    old = Version(0, 31)
    plain = _named("Qwen/Qwen3.5-27B", prefix_caching=False, version=old)
    cached = _named("Qwen/Qwen3.5-27B", prefix_caching=True, version=old)
    assert cached.blocks_per_request(4096) - plain.blocks_per_request(4096) == 3


@pytest.mark.parametrize(
    ("name", "version", "capability", "states"),
    [
        ("nvidia/Nemotron-3-Nano-30B-A3B", Version(0, 31), 90, 2),
        ("nvidia/Nemotron-3-Nano-30B-A3B", Version(0, 32), 80, 3),
        ("Qwen/Qwen3.5-27B", Version(0, 32), 90, 2),
        ("Qwen/Qwen3.5-27B", Version(0, 33), 90, 3),
        ("Qwen/Qwen3.5-27B", Version(0, 33), None, 3),
        ("Qwen/Qwen3.5-27B", Version(0, 33), 89, 2),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", Version(0, 33), 90, 2),
    ],
)
def test_a_prefill_leaves_a_third_state_where_vllm_checkpoints_it(
    name: str, version: Version, capability: int | None, states: int
) -> None:
    geometry = _named(name, version=version, capability=capability)
    kept = sum(group.cache.kind is CacheKind.STATE for group in geometry.groups)
    full = len(geometry.groups) - kept
    assert geometry.blocks_per_request(1) == kept * states + full


def test_windows_are_full_length_without_the_hybrid_manager() -> None:
    config = llama_config(model_type="gemma2", sliding_window=64)
    on = _geometry(config)
    off = _geometry(config, hybrid_manager=False)
    assert {group.cache.kind for group in on.groups} == {CacheKind.FULL, CacheKind.SLIDING}
    assert {group.cache.kind for group in off.groups} == {CacheKind.FULL}


def test_an_encoder_needs_no_cache_at_all() -> None:
    geometry = _geometry(BGE_M3)
    assert geometry.is_empty
    assert geometry.tokens(GIB) == 0
    assert geometry.concurrency(GIB) == 0.0
    assert geometry.bytes_for(10) == 0


def test_cross_attention_takes_the_encoder_frames_once_per_request() -> None:
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
    geometry = _geometry(config, length=448, batched=512)
    assert geometry.blocks_per_request(448) == 448 // 16 + 94


def test_cross_attention_keeps_room_for_all_encoder_tokens_of_a_batch() -> None:
    config = {
        "model_type": "whisper",
        "d_model": 512,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "vocab_size": 51865,
    }
    assert _geometry(config, length=448, batched=8192).blocks_per_request(448) == 448 // 16 + 8192 // 16


def test_pipeline_stages_share_the_layers() -> None:
    assert _geometry(llama_config(), pp=2).bytes_per_block * 2 == _geometry(llama_config()).bytes_per_block


@pytest.mark.parametrize("dtype", ["nvfp4", "turboquant_k8v4", "int8_per_token_head"])
def test_packed_kv_formats_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(UnmodelledError, match=f"KV cache dtype {dtype} is not modelled"):
        _geometry(llama_config(), kv_dtype=dtype)


def test_the_token_line_of_the_log_changed_its_meaning() -> None:
    old = _named("google/gemma-3-1b-it", version=Version(0, 19), length=2048)
    new = _named("google/gemma-3-1b-it", version=Version(0, 21), length=2048)
    assert old.tokens(GIB) == old.blocks(GIB) // 7 * 16
    assert new.tokens(GIB) == int(new.concurrency(GIB) * 2048)


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-0.6B", "google/gemma-3-1b-it", "Qwen/Qwen3.5-9B", "zai-org/GLM-5"]
)
@settings(max_examples=30, deadline=None)
@given(requests=st.integers(1, 40), length=st.integers(64, 40000))
def test_bytes_for_some_requests_hold_that_many_requests(name: str, requests: int, length: int) -> None:
    geometry = _named(name, length=length)
    size = geometry.bytes_for(requests)
    assert geometry.concurrency(size) >= requests
    assert geometry.longest_request(geometry.bytes_for(1)) == length


def test_uneven_layer_kinds_are_padded_up_to_a_ratio_that_grew() -> None:
    kinds = ["full_attention"] * 20 + ["sliding_attention"] * 26
    config = llama_config(num_hidden_layers=46, layer_types=kinds, sliding_window=128)
    cut = _geometry(config, version=Version(0, 18))
    padded = _geometry(config, version=Version(0, 19))
    assert sorted(group.layers for group in cut.groups) == [13, 13, 20]
    assert sorted(group.layers for group in padded.groups) == [20, 26]


@settings(max_examples=50, deadline=None)
@given(size=st.integers(0, 64 * GIB))
def test_more_memory_never_means_fewer_tokens(size: int) -> None:
    geometry = _named("openai/gpt-oss-20b", length=16384)
    assert geometry.tokens(size) <= geometry.tokens(size + GIB)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.17.1rc1.dev126", Version(0, 17, 1)),
        ("v0.28.0+cu129", Version(0, 28, 0)),
        ("0.27/0.28", Version(0, 27)),
        ("main", None),
    ],
)
def test_versions_are_read_from_what_people_write(text: str, version: Version | None) -> None:
    assert parse_version(text) == version


def test_cpu_blocks_of_a_real_start_match() -> None:
    """vLLM 0.32 on the CPU logged 65,536 tokens and 32.00x for 64 MiB, float32, 2048 tokens."""
    tiny = llama_config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32
    )
    geometry = _geometry(tiny, length=2048, block=128)
    float32 = replace(geometry.request.fmt, model_dtype="float32")
    geometry = cache_geometry(read_model(tiny), replace(geometry.request, fmt=float32))
    assert geometry.tokens(64 << 20) == 65536
    assert geometry.concurrency(64 << 20) == 32.0


def test_chunks_are_freed_where_vllm_does_so_by_default() -> None:
    config = llama_config(
        model_type="llama4_text",
        architectures=["Llama4ForCausalLM"],
        num_hidden_layers=8,
        attention_chunk_size=1024,
        num_local_experts=2,
        intermediate_size_mlp=512,
    )
    kinds = [
        {group.cache.kind for group in _budget(config, h100(), version).geometry.groups}
        for version in (Version(0, 11), Version(0, 14))
    ]
    assert kinds == [{CacheKind.FULL}, {CacheKind.FULL, CacheKind.CHUNKED}]


def test_on_the_cpu_one_batch_is_in_flight_and_states_are_wide() -> None:
    ram = Device(0, "cpu", 64 * GIB, DeviceKind.CPU)
    window = llama_config(model_type="gemma2", sliding_window=64)
    tokens = [
        geometry.blocks_per_request(4096) * geometry.block_tokens
        for geometry in (_budget(window, device).geometry for device in (h100(), ram))
    ]
    assert tokens[1] < tokens[0]
    hybrid = model_configs()["nvidia/Nemotron-3-Nano-30B-A3B"] | {"mamba_ssm_cache_dtype": "auto"}
    sizes = [
        next(
            group.cache.page_bytes
            for group in _budget(hybrid, device).geometry.groups
            if group.cache.kind is CacheKind.STATE
        )
        for device in (h100(), ram)
    ]
    assert sizes[1] > 1.9 * sizes[0]


def _budget(config: dict[str, Any], device: Device, version: Version = CURRENT) -> InstanceBudget:
    shape = Shape(max_model_len=4096, max_num_batched_tokens=1024, version=version)
    return instance_budget(read_model(config), NO_QUANTIZATION, shape, device)


@pytest.mark.parametrize(
    ("name", "kv_dtype", "latent"),
    [
        ("H100", "auto", 1152),
        ("H100", "fp8", 656),
        ("B200", "fp8", 576),
        ("B200", "auto", 576),
        ("RTX PRO 6000", "auto", 656),
    ],
)
def test_sparse_latents_are_stored_as_the_gpus_kernels_want_them(
    name: str, kv_dtype: str, latent: int
) -> None:
    shape = Shape(tp=8, max_model_len=4096, kv_cache_dtype=kv_dtype)
    model = read_model(model_configs()["zai-org/GLM-5"])
    geometry = instance_budget(model, NO_QUANTIZATION, shape, Device(0, name, 180 * GIB)).geometry
    assert geometry.bytes_per_block == 78 * geometry.block_tokens * (latent + 132)
