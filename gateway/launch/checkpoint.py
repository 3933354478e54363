"""Finding a model's files on this machine and reading what planning needs of them.

Owns the rules of the Hugging Face cache and the safetensors header format. Never downloads anything and never
reads a weight.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from gateway.launch.memory.tensors import Checkpoint, TensorInfo, parse_header

_MAX_HEADER_BYTES = 100_000_000
"""safetensors' own limit for a header."""
_LENGTH_BYTES = 8


class CheckpointError(ValueError):
    """A model's files are missing or broken; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What is known about a model from its folder."""

    folder: Path
    config: Mapping[str, object]
    checkpoint: Checkpoint
    pools: bool = False
    """Whether it is a Sentence Transformers folder, from which vLLM serves embeddings by default."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter's needs."""

    rank: int
    base_model: str


def find_model(name: str, environ: Mapping[str, str]) -> Path:
    """The folder of a model.

    Args:
        name: a folder, or an id such as `Qwen/Qwen3-8B` in the local Hugging Face cache.
        environ: the environment, for HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME.

    Raises:
        CheckpointError: there is no such folder and no such id in the cache.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(
            f"{name} is a file: give the folder with its config.json (GGUF is not supported)"
        )
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise CheckpointError(f"{name}: there is no such folder")
    return _cached_snapshot(name, environ)


def read_model_files(name: str, environ: Mapping[str, str]) -> ModelFiles:
    """Configuration and tensor list of a model.

    Raises:
        CheckpointError: something is missing or unreadable.
    """
    folder = find_model(name, environ)
    config = _read_json(folder / "config.json")
    quantization = folder / "hf_quant_config.json"
    if "quantization_config" not in config and quantization.is_file():
        config = {**config, "quantization_config": _read_json(quantization)}
    return ModelFiles(folder, config, _read_checkpoint(folder), _pools(folder / "modules.json"))


def read_adapter(name: str, environ: Mapping[str, str]) -> Adapter:
    """Rank and base model of a LoRA adapter.

    Raises:
        CheckpointError: it is not found, or adapter_config.json does not describe a LoRA adapter.
    """
    folder = find_model(name, environ)
    config = _read_json(folder / "adapter_config.json")
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise CheckpointError(f"{folder}/adapter_config.json has no rank `r`: it is not a LoRA adapter")
    pattern = config.get("rank_pattern")
    special = (
        [value for value in pattern.values() if isinstance(value, int)] if isinstance(pattern, dict) else []
    )
    return Adapter(max(rank, *special, 0), str(config.get("base_model_name_or_path") or ""))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The Hugging Face hub cache, by huggingface_hub's own rules (`constants.py`)."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := environ.get(variable):
            return Path(value).expanduser()
    if home := environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = environ.get("XDG_CACHE_HOME")
    base = Path(cache).expanduser() if cache else Path(environ.get("HOME", "~")).expanduser() / ".cache"
    return base / "huggingface" / "hub"


def _cached_snapshot(name: str, environ: Mapping[str, str]) -> Path:
    cache = cache_folder(environ)
    repository = cache / f"models--{name.replace('/', '--')}"
    if not repository.is_dir():
        raise CheckpointError(
            f"{name} is neither a folder nor in the local Hugging Face cache ({cache}): download it first, "
            "for example with `hf download`"
        )
    reference = repository / "refs" / "main"
    if reference.is_file():
        snapshot = repository / "snapshots" / reference.read_text().strip()
        if snapshot.is_dir():
            return snapshot
    snapshots = sorted(path for path in (repository / "snapshots").glob("*") if path.is_dir())
    if len(snapshots) != 1:
        raise CheckpointError(f"{name} is in the Hugging Face cache, but without a complete snapshot")
    return snapshots[0]


def _pools(modules: Path) -> bool:
    """Whether a Sentence Transformers module list has a pooling step (vLLM `get_pooling_config`)."""
    try:
        listed = orjson.loads(modules.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    entries = listed if isinstance(listed, list) else []
    return any(isinstance(entry, dict) and str(entry.get("type")).endswith(".Pooling") for entry in entries)


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return content


def _read_checkpoint(folder: Path) -> Checkpoint:
    """Tensors by header; without safetensors, the size by index or by file."""
    index_path = folder / "model.safetensors.index.json"
    index = _read_json(index_path) if index_path.is_file() else {}
    files = _weight_files(folder, index)
    if files:
        return Checkpoint(
            tuple(tensor for file in files for tensor in _read_header(file)), _total_size(index)
        )
    if index:
        return Checkpoint((), _total_size(index))
    torch_index = folder / "pytorch_model.bin.index.json"
    if torch_index.is_file():
        return Checkpoint((), _total_size(_read_json(torch_index)))
    return Checkpoint((), sum(path.stat().st_size for path in folder.glob("pytorch_model*.bin")))


def _weight_files(folder: Path, index: Mapping[str, object]) -> list[Path]:
    """The safetensors files that vLLM loads: those of the index, else all but the consolidated copy."""
    mapping = index.get("weight_map")
    if isinstance(mapping, dict):
        listed = [folder / str(name) for name in sorted(set(mapping.values()))]
        return listed if all(path.is_file() for path in listed) else []
    files = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter"))
    plain = [path for path in files if not path.name.startswith("consolidated")]
    return plain or files


def _total_size(index: Mapping[str, object]) -> int:
    metadata = index.get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(size) if isinstance(size, (int, float)) else 0


def _read_header(path: Path) -> Iterator[TensorInfo]:
    try:
        with path.open("rb") as file:
            header = orjson.loads(_header_bytes(file, path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise CheckpointError(f"{path} is not a safetensors file") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is not a safetensors file")
    yield from parse_header(header)


def _header_bytes(file: BinaryIO, path: Path) -> bytes:
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if not 0 < length <= _MAX_HEADER_BYTES:
        raise CheckpointError(f"{path} is not a safetensors file")
    content = file.read(length)
    if len(content) < length:
        raise CheckpointError(f"{path} is incomplete")
    return content
