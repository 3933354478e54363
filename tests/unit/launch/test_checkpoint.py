"""Model folders, the Hugging Face cache, safetensors headers, adapters."""

import json
from pathlib import Path

import pytest

from gateway.launch.checkpoint import (
    CheckpointError,
    cache_folder,
    find_model,
    read_adapter,
    read_model_files,
)
from tests.unit.launch.builders import llama_config
from tests.unit.launch.folders import write_adapter, write_model, write_safetensors

_TENSORS = {"model.embed_tokens.weight": ("BF16", [8, 4]), "lm_head.weight": ("F32", [8, 4])}


def test_a_folder_is_read_with_its_headers(tmp_path: Path) -> None:
    files = read_model_files(str(write_model(tmp_path / "m", llama_config(), _TENSORS)), {})
    assert files.config["hidden_size"] == 512
    assert {tensor.name: tensor.stored_bytes for tensor in files.checkpoint.tensors} == {
        "model.embed_tokens.weight": 64,
        "lm_head.weight": 128,
    }


def test_an_id_is_found_in_the_cache_by_its_main_reference(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    for revision in ("aaa", "bbb"):
        write_model(repository / "snapshots" / revision, llama_config())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb\n")
    assert find_model("org/name", {"HF_HOME": str(tmp_path)}).name == "bbb"


def test_a_single_snapshot_needs_no_reference(tmp_path: Path) -> None:
    write_model(tmp_path / "models--org--name" / "snapshots" / "aaa", llama_config())
    assert find_model("org/name", {"HF_HUB_CACHE": str(tmp_path)}).name == "aaa"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_huggingface_hub_puts_it(environ: dict[str, str], expected: str) -> None:
    assert str(cache_folder(environ)) == expected


def test_only_the_files_of_the_index_are_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama_config())
    write_safetensors(folder / "a.safetensors", {"x": ("F16", [2])})
    write_safetensors(folder / "consolidated.safetensors", {"y": ("F16", [2])})
    index = {"metadata": {"total_size": 4}, "weight_map": {"x": "a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = read_model_files(str(folder), {}).checkpoint
    assert [tensor.name for tensor in checkpoint.tensors] == ["x"]
    assert checkpoint.total_bytes == 4


def test_a_consolidated_copy_beside_the_shards_is_not_counted_twice(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama_config(), {"x": ("F16", [2])})
    write_safetensors(folder / "consolidated.safetensors", {"y": ("F16", [2])})
    assert [tensor.name for tensor in read_model_files(str(folder), {}).checkpoint.tensors] == ["x"]


def test_an_index_whose_files_are_not_here_gives_the_size(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama_config())
    index = {"metadata": {"total_size": 4096}, "weight_map": {"x": "missing.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = read_model_files(str(folder), {}).checkpoint
    assert checkpoint.tensors == ()
    assert checkpoint.total_bytes == 4096


def test_modelopts_own_file_stands_in_for_the_quantisation_section(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama_config())
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    assert "quantization_config" in read_model_files(str(folder), {}).config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        ((100).to_bytes(8, "little") + b"{}", "is incomplete"),
        ((2).to_bytes(8, "little") + b"[]", "not a safetensors file"),
        ((3).to_bytes(8, "little") + b"{{{", "not a safetensors file"),
    ],
)
def test_a_broken_weight_file_is_one_plain_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_model(tmp_path / "m", llama_config())
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_model_files(str(folder), {})


def test_what_cannot_be_found_is_said_with_the_way_out(tmp_path: Path) -> None:
    environ = {"HF_HOME": str(tmp_path)}
    with pytest.raises(CheckpointError, match="neither a folder nor in the local Hugging Face cache"):
        find_model("org/name", environ)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        find_model("/nope/at/all", environ)
    (tmp_path / "model.gguf").write_text("")
    with pytest.raises(CheckpointError, match="GGUF is not supported"):
        find_model(str(tmp_path / "model.gguf"), environ)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_model_files(str(tmp_path / "empty"), environ)
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        read_model_files(str(tmp_path / "empty"), environ)


def test_an_adapters_rank_is_the_largest_of_its_patterns(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", 8)
    assert read_adapter(str(folder), {}).rank == 8
    (folder / "adapter_config.json").write_text('{"r": 8, "rank_pattern": {"q_proj": 32}}')
    assert read_adapter(str(folder), {}).rank == 32
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a LoRA adapter"):
        read_adapter(str(folder), {})
