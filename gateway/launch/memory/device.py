"""A GPU, or the RAM of a CPU-only machine, as far as planning is concerned."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.launch.memory.terms import GIB, MIB


class DeviceKind(StrEnum):
    """What runs the model."""

    CUDA = "cuda"
    CPU = "cpu"
    """The device's memory is RAM; KV is set by --kv-cache-memory-bytes alone."""


_CAPABILITIES: Mapping[str, int] = {
    "gb300": 103, "b300": 103, "gb200": 100, "b200": 100, "b100": 100, "gb10": 121, "spark": 121,
    "rtx pro 6000": 120, "rtx 5090": 120, "rtx 5080": 120, "rtx 5070": 120, "rtx 5060": 120, "rtx pro": 120,
    "h200": 90, "h100": 90, "h800": 90, "h20": 90, "gh200": 90,
    "l40": 89, "l4": 89, "l20": 89, "6000 ada": 89, "5000 ada": 89, "4000 ada": 89, "2000 ada": 89,
    "rtx 40": 89, "a10": 86, "a16": 86, "a40": 86, "a2": 86, "rtx 30": 86, "rtx a": 86, "orin": 87,
    "a100": 80, "a800": 80, "a30": 80,
    "quadro rtx": 75, "rtx 20": 75, "t4": 75, "gtx 16": 75, "titan rtx": 75,
    "v100": 70, "titan v": 70, "p100": 60, "p40": 61, "gtx 10": 61,
}  # fmt: skip
"""Compute capability x 10 by a piece of the card's name; the longest piece that occurs wins."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device."""

    index: int
    name: str
    total_bytes: int
    """What cudaMemGetInfo calls total: an 80 GB H100 has 79.19 GiB."""
    kind: DeviceKind = DeviceKind.CUDA
    used_bytes: int = 0
    """What other processes hold."""

    @property
    def capability(self) -> int | None:
        """CUDA compute capability x 10, None if the name tells nothing."""
        lowered = self.name.lower()
        pieces = [piece for piece in _CAPABILITIES if piece in lowered]
        return _CAPABILITIES[max(pieces, key=len)] if pieces else None

    @property
    def margin_bytes(self) -> int:
        """What a plan leaves free: 1 GiB or 2 %; on cards below 20 GiB, 5 %."""
        share = self.total_bytes // 50
        return max(share, min(GIB, max(256 * MIB, self.total_bytes // 20)))

    @property
    def usable_bytes(self) -> int:
        """What instances may use together."""
        return max(0, self.total_bytes - self.used_bytes - self.margin_bytes)


_LARGE, _HUGE = 70 * GIB, 160 * GIB


def default_batch(device: Device) -> tuple[int, int]:
    """Defaults of a vLLM server for (--max-num-batched-tokens, --max-num-seqs).

    Source: `engine/arg_utils.py`, get_batch_defaults. On the CPU: `platforms/cpu.py` keeps the small ones.
    """
    name = device.name.lower()
    if device.kind is DeviceKind.CPU:
        return 2048, 128
    if device.total_bytes >= _HUGE:
        return 16384, 1024
    if device.total_bytes >= _LARGE and "a100" not in name and "gb10" not in name and "spark" not in name:
        return 8192, 1024
    return 2048, 256
