"""Model folders on disk, as small as can be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, list[int]]]) -> None:
    """A file with a true header and no data: planning never reads further."""
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
        for name, (dtype, shape) in tensors.items()
    }
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content)


def write_model(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[str, list[int]]] | None = None
) -> Path:
    """A model folder; without tensors only its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if tensors:
        write_safetensors(folder / "model.safetensors", tensors)
    return folder


def write_adapter(folder: Path, rank: int) -> Path:
    """A LoRA adapter folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "base_model_name_or_path": "base"}))
    return folder
