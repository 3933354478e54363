"""Published start-up logs of vLLM as test data, and what the memory model says about each of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.launch.memory.budget import InstanceBudget, Shape, instance_budget
from gateway.launch.memory.device import Device
from gateway.launch.memory.lora import LoraSlots
from gateway.launch.memory.quantization import Quantization, read_quantization
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import GIB, UnmodelledError
from gateway.launch.memory.versions import Version, parse_version

DATA = Path(__file__).parents[2] / "data" / "memory"
UNSTATED_VERSION = Version(0, 10, 1)
H100_GIB = 79.18


@dataclass(frozen=True)
class Row:
    """One start that somebody published."""

    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.values['stated_as']} [{self.values['source']}]"

    @property
    def version(self) -> Version:
        return parse_version(self.values.get("version", "")) or UNSTATED_VERSION

    @property
    def excluded(self) -> str:
        """Why the row does not count, or an empty string."""
        return str(self.values.get("excluded", ""))

    @property
    def failed(self) -> str:
        """Why the server did not come up, or an empty string."""
        return str(self.values.get("failed", ""))

    @property
    def available_bytes(self) -> int:
        return int(self.values["available_kv_gib"] * GIB)

    def has(self, *names: str) -> bool:
        return all(name in self.values for name in names)


def rows() -> list[Row]:
    """All rows, also those that do not count."""
    return [Row(values) for values in json.loads((DATA / "startup_rows.json").read_text())]


def model_configs() -> dict[str, dict[str, Any]]:
    """config.json by model name."""
    configs: dict[str, dict[str, Any]] = json.loads((DATA / "model_configs.json").read_text())
    return configs


def device_of(row: Row) -> Device:
    """The card of a row; an unnamed one is taken for an H100."""
    return Device(0, row.values.get("gpu", "H100"), int(row.values.get("gpu_gib", H100_GIB) * GIB))


def budget_of(row: Row, configs: Mapping[str, Mapping[str, Any]]) -> InstanceBudget:
    """The budget that the memory model computes for a row."""
    config = dict(configs[row.values["model"]])
    override = row.values.get("quantization_config")
    if override is not None:
        config = {**config, "quantization_config": override}
    device = device_of(row)
    return instance_budget(read_model(config), _quantization(config, device), shape_of(row), device)


def shape_of(row: Row) -> Shape:
    """The options of a row's start."""
    values = row.values
    lora = values.get("lora")
    return Shape(
        tp=values["tp"],
        pp=values["pp"],
        max_model_len=values.get("max_model_len"),
        max_num_seqs=values.get("max_num_seqs"),
        max_num_batched_tokens=values.get("max_num_batched_tokens"),
        kv_cache_dtype=values["kv_cache_dtype"],
        enforce_eager=values.get("enforce_eager", False),
        lora=LoraSlots(*lora) if lora else None,
        prefix_caching=values.get("prefix_caching"),
        version=row.version,
    )


def _quantization(config: Mapping[str, Any], device: Device) -> Quantization:
    try:
        return read_quantization(config, None, device.capability)
    except UnmodelledError:
        # The KV arithmetic does not need it; rows with such weights are excluded from the weight test.
        return Quantization(None)
