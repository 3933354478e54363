"""Listing GPUs and RAM without a driver."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from gateway.launch.inventory import InventoryError, Nvml, host_memory, list_gpus
from gateway.launch.memory.device import Device, DeviceKind, default_batch
from gateway.launch.memory.terms import GIB


class FakeLibrary:
    """Two cards."""

    def devices(self) -> Sequence[tuple[str, int, int, str]]:
        return [("H100", 80 * GIB, 3 * GIB, "GPU-aaa"), ("L4", 22 * GIB, 0, "GPU-bbb")]


def test_gpus_are_listed_with_what_others_hold() -> None:
    first, second = list_gpus(FakeLibrary(), {})
    assert (first.name, first.used_bytes, second.index) == ("H100", 3 * GIB, 1)


@pytest.mark.parametrize(("visible", "indices"), [("1", [1]), ("GPU-aaa", [0]), ("0,1", [0, 1])])
def test_hidden_gpus_are_left_out(visible: str, indices: list[int]) -> None:
    assert [gpu.index for gpu in list_gpus(FakeLibrary(), {"CUDA_VISIBLE_DEVICES": visible})] == indices


def test_no_visible_gpu_is_one_plain_sentence() -> None:
    with pytest.raises(InventoryError, match="no GPU is visible"):
        list_gpus(FakeLibrary(), {"CUDA_VISIBLE_DEVICES": ""})


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    with pytest.raises(InventoryError, match="describe the devices under `gpus`"):
        Nvml().devices()


def test_nvml_is_asked_for_what_cuda_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=81559 << 20, reserved=480 << 20, used=600 << 20)
    answers = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetName": "H100",
        "nvmlDeviceGetUUID": "GPU-aaa",
        "nvmlDeviceGetMigMode": (0, 0),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_args, answer=answer, **_options: answer)
    assert Nvml().devices() == [("H100", 81079 << 20, 600 << 20, "GPU-aaa")]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", lambda _handle: (1, 1))
    with pytest.raises(InventoryError, match="divided into MIG slices"):
        Nvml().devices()


def test_ram_is_what_the_kernel_says_or_the_control_group_allows(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n")
    limit.write_text("max\n")
    assert host_memory(meminfo, limit) == (1000 * 1024, 400 * 1024)
    limit.write_text("204800\n")
    assert host_memory(meminfo, limit) == (204800, 204800)
    with pytest.raises(InventoryError, match="cannot be read"):
        host_memory(tmp_path / "nothing", limit)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA H100 80GB HBM3", 90),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("NVIDIA GeForce RTX 3090", 86),
        ("NVIDIA L40S", 89),
        ("NVIDIA GeForce RTX 5090", 120),
        ("NVIDIA RTX 6000 Ada Generation", 89),
        ("Quadro RTX 6000", 75),
        ("Something", None),
    ],
)
def test_the_generation_is_told_from_the_name(name: str, capability: int | None) -> None:
    assert Device(0, name, GIB).capability == capability


@pytest.mark.parametrize(
    ("name", "gib", "batch"),
    [
        ("H100", 79.2, (8192, 1024)),
        ("A100-80GB", 79.2, (2048, 256)),
        ("B200", 179, (16384, 1024)),
        ("L4", 22, (2048, 256)),
    ],
)
def test_batch_defaults_are_those_of_vllm(name: str, gib: float, batch: tuple[int, int]) -> None:
    assert default_batch(Device(0, name, int(gib * GIB))) == batch


def test_the_margin_is_one_gibibyte_or_two_per_cent_and_less_on_small_devices() -> None:
    assert Device(0, "A", 40 * GIB).margin_bytes == GIB
    assert Device(0, "B", 100 * GIB).margin_bytes == 2 * GIB
    assert Device(0, "C", 4 * GIB, DeviceKind.CPU).margin_bytes == 256 << 20
