"""Which devices this machine has, and how much of their memory is free.

Owns the conversation with NVML and the reading of /proc/meminfo. Without a driver it says so in one sentence;
planning then needs devices from the configuration.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pynvml

from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.terms import KIB

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class InventoryError(RuntimeError):
    """The devices cannot be listed; the message is one sentence."""


class GpuLibrary(Protocol):
    """What is used of NVML: (name, total, used, uuid) of each device in PCI bus order, in bytes."""

    def devices(self) -> Sequence[tuple[str, int, int, str]]:
        """All devices.

        Raises:
            InventoryError: there is no driver, or a device cannot be planned with.
        """


class Nvml:
    """NVML through nvidia-ml-py, which loads the driver's library only when asked."""

    def devices(self) -> Sequence[tuple[str, int, int, str]]:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            raise InventoryError(
                "no NVIDIA driver answers on this machine: describe the devices under `gpus`"
            ) from None
        try:
            return [_describe(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise InventoryError(f"the NVIDIA driver reports an error: {error}") from None
        finally:
            pynvml.nvmlShutdown()


def _describe(index: int) -> tuple[str, int, int, str]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    # The second version tells the part that the driver keeps for itself, which CUDA does not count as total:
    # an 80 GB H100 has 79.65 GiB by NVML and 79.18 GiB by cudaMemGetInfo.
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    if _is_divided(handle):
        raise InventoryError(
            f"GPU {index} is divided into MIG slices, which cannot be listed: describe them under `gpus` and "
            "name each model's slice in its `env` (CUDA_VISIBLE_DEVICES: MIG-...)"
        )
    name = str(pynvml.nvmlDeviceGetName(handle))
    total = int(memory.total) - int(memory.reserved)
    return name, total, int(memory.used), str(pynvml.nvmlDeviceGetUUID(handle))


def _is_divided(handle: object) -> bool:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:
        return False
    return bool(current)


def list_gpus(library: GpuLibrary, environ: Mapping[str, str]) -> tuple[Device, ...]:
    """The machine's GPUs, those that CUDA_VISIBLE_DEVICES hides left out.

    Raises:
        InventoryError: they cannot be listed, or there is none.
    """
    found = [
        (Device(index, name, total, DeviceKind.CUDA, used), uuid)
        for index, (name, total, used, uuid) in enumerate(library.devices())
    ]
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        wanted = [item.strip() for item in visible.split(",") if item.strip()]
        found = [
            (device, uuid)
            for device, uuid in found
            if any(item == str(device.index) or (item[0] == "G" and uuid.startswith(item)) for item in wanted)
        ]
    if not found:
        raise InventoryError("no GPU is visible: describe devices under `gpus` in the configuration")
    return tuple(device for device, _ in found)


def host_memory(meminfo: Path = _MEMINFO, limit: Path = _CGROUP_LIMIT) -> tuple[int, int]:
    """(total, used) bytes of RAM, within the control group's limit if there is one.

    Raises:
        InventoryError: the kernel's figures cannot be read.
    """
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        total = int(fields["MemTotal"].split()[0]) * KIB
        used = total - int(fields["MemAvailable"].split()[0]) * KIB
    except (OSError, KeyError, ValueError, IndexError):
        raise InventoryError("the size of this machine's memory cannot be read") from None
    try:
        capped = int(limit.read_text())
    except (OSError, ValueError):
        return total, used
    return (capped, min(used, capped)) if capped < total else (total, used)
