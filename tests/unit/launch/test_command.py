"""Command lines, environments, the script, the JSON document and the report of a plan."""

import json
import shutil
import subprocess
from io import StringIO

import pytest
from rich.console import Console

from gateway.launch.command import FIRST_PORT, plan_commands, serve_command, shell_script
from gateway.launch.document import failure_document, plan_document
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.model import Task
from gateway.launch.memory.terms import GIB
from gateway.launch.memory.versions import Version
from gateway.launch.placement.advice import place_or_advise
from gateway.launch.placement.demand import no_measurements
from gateway.launch.placement.placing import place
from gateway.launch.plan import NoFitError, Plan
from gateway.launch.report import print_failure, print_plan
from tests.unit.launch.builders import BGE_M3, LLAMA_8B, QWEN_32B, h100, llama_config, request

_CONTRACT = """
model gpus tensor_parallel gpu_memory_utilization weights_gib kv_cache_gib activation_gib cuda_graphs_gib
context_gib
kv_bytes_per_block block_tokens kv_tokens max_concurrency start_order origins command env warnings
"""
CONTRACT = set(_CONTRACT.split())


def _plan() -> Plan:
    return place(
        [
            request(LLAMA_8B, "chat", concurrency=6, max_model_len=16384, adapters={"sql": "/adapters/sql"}),
            request(QWEN_32B, "big", concurrency=2, max_model_len=16384, args=("--enable-prefix-caching",)),
            request(BGE_M3, "embed", env={"VLLM_LOGGING_LEVEL": "DEBUG"}),
        ],
        [h100(0), h100(1)],
    )


def test_both_memory_flags_are_given_because_the_gate_uses_the_first() -> None:
    command = serve_command(_plan().instances[0], DeviceKind.CUDA, 9000).argv
    assert command[:3] == ("vllm", "serve", "/models/big")
    assert "--gpu-memory-utilization" in command
    assert "--kv-cache-memory-bytes" in command
    assert command[command.index("--port") + 1] == "9000"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[-1] == "--enable-prefix-caching"


def test_a_version_without_the_kv_flag_is_given_the_utilisation_alone() -> None:
    plan = place([request(LLAMA_8B, version=Version(0, 9, 2))], [h100()])
    command = serve_command(plan.instances[0], DeviceKind.CUDA, 9000).argv
    assert "--kv-cache-memory-bytes" not in command
    assert "--gpu-memory-utilization" in command


def test_gpus_are_named_in_pci_order() -> None:
    commands = plan_commands(_plan())
    assert {command.env["CUDA_DEVICE_ORDER"] for command in commands} == {"PCI_BUS_ID"}
    assert {command.env["CUDA_VISIBLE_DEVICES"] for command in commands} == {"0", "1"}


def test_adapters_are_loaded_by_name_at_every_start() -> None:
    chat = next(planned for planned in _plan().instances if planned.request.name == "chat")
    line = serve_command(chat, DeviceKind.CUDA, 9000).line
    assert "--enable-lora --max-loras 1 --max-lora-rank 16 --lora-modules sql=/adapters/sql" in line


def test_ports_are_counted_up_around_those_that_were_asked_for() -> None:
    requests = [request(llama_config(), name) for name in "abc"]
    requests.append(request(llama_config(), "fixed", port=FIRST_PORT))
    ports = [command.port for command in plan_commands(place(requests, [h100()]))]
    assert sorted(ports) == [FIRST_PORT + n for n in range(4)]


def test_a_cpu_server_gets_its_cache_and_a_small_gate_out_of_ram() -> None:
    plan = place([request(llama_config())], [Device(0, "cpu", 16 * GIB, DeviceKind.CPU)])
    command = plan_commands(plan)[0]
    assert "--gpu-memory-utilization" in command.argv
    assert "--kv-cache-memory-bytes" in command.argv
    assert command.clear_env == ("VLLM_CPU_KVCACHE_SPACE",)
    assert "CUDA_VISIBLE_DEVICES" not in command.env


def test_on_the_cpu_a_slot_stays_empty_for_requests_without_an_adapter() -> None:
    adapters = {"sql": "/adapters/sql", "law": "/adapters/law"}
    slots = {}
    for kind in DeviceKind:
        for asked in (None, 1, 5):
            wanted = request(llama_config(), adapters=adapters, max_loras=asked)
            command = plan_commands(place([wanted], [Device(0, "card", 16 * GIB, kind)]))[0].argv
            slots[kind, asked] = command[command.index("--max-loras") + 1]
    assert slots == {
        (DeviceKind.CUDA, None): "2",
        (DeviceKind.CUDA, 1): "1",
        (DeviceKind.CUDA, 5): "5",
        (DeviceKind.CPU, None): "3",
        (DeviceKind.CPU, 1): "3",
        (DeviceKind.CPU, 5): "5",
    }


def test_a_decoder_for_embeddings_is_run_as_a_pooling_model() -> None:
    plan = place([request("Qwen/Qwen3-0.6B", task=Task.POOL, max_model_len=4096)], [h100()])
    assert "--runner pooling" in plan_commands(plan)[0].line


def test_another_environments_vllm_can_be_called() -> None:
    command = plan_commands(_plan(), ("docker", "run", "vllm/vllm"))[0]
    assert command.argv[:4] == ("docker", "run", "vllm/vllm", "serve")


def test_the_document_keeps_the_contract() -> None:
    document = plan_document(_plan())
    instances, gpus = document["instances"], document["gpus"]
    assert isinstance(instances, list)
    assert isinstance(gpus, list)
    assert all(instance.keys() >= CONTRACT for instance in instances)
    for gpu in gpus:
        mine = [i for i in instances if gpu["index"] in i["gpus"]]
        parts = ("weights_gib", "kv_cache_gib", "activation_gib", "cuda_graphs_gib", "context_gib")
        assert gpu["used_gib"] == pytest.approx(sum(i[part] for i in mine for part in parts), abs=0.01)
        assert gpu["memory_gib"] == pytest.approx(gpu["used_gib"] + gpu["slack_gib"], abs=0.01)
    assert json.loads(json.dumps(document)) == document


def test_starts_by_the_documents_own_numbers_pass_the_gate() -> None:
    """As an outsider would check it: with all of an instance's context counted before its start."""
    document = plan_document(_plan())
    instances, gpus = document["instances"], document["gpus"]
    assert isinstance(instances, list)
    assert isinstance(gpus, list)
    free = {gpu["index"]: gpu["memory_gib"] for gpu in gpus}
    for instance in sorted(instances, key=lambda i: i["start_order"]):
        for gpu in instance["gpus"]:
            requested = instance["gpu_memory_utilization"] * gpus[gpu]["memory_gib"]
            assert requested <= free[gpu] - instance["context_gib"]
            parts = ("weights_gib", "kv_cache_gib", "activation_gib", "cuda_graphs_gib", "context_gib")
            free[gpu] -= sum(instance[part] for part in parts)


def test_the_script_is_valid_bash_and_starts_in_order() -> None:
    script = shell_script(_plan())
    bash = shutil.which("bash")
    assert bash is not None
    assert subprocess.run([bash, "-n"], input=script.encode(), check=False).returncode == 0
    positions = [script.index(f"# {number}. ") for number in (1, 2, 3)]
    assert positions == sorted(positions)
    assert script.count("wait_for 81") == 3


def test_the_report_shows_every_instance_and_gpu() -> None:
    output = StringIO()
    print_plan(_plan(), Console(file=output, width=160))
    text = output.getvalue()
    assert all(
        word in text for word in ("chat", "big", "embed", "cuda 0: H100", "cuda 1: H100", "vllm serve")
    )


def _refusal() -> NoFitError:
    with pytest.raises(NoFitError) as caught:
        place_or_advise(
            [
                request(QWEN_32B, "big", concurrency=16, max_model_len=32768, tensor_parallel=1),
                request(LLAMA_8B, "chat"),
            ],
            [h100(0), h100(1)],
            no_measurements,
        )
    return caught.value


def test_a_refusal_names_changes_that_have_been_tried() -> None:
    refusal = _refusal()
    assert "big needs" in str(refusal)
    changes = {item.change.partition(":")[0]: item for item in refusal.suggestions if item.model == "big"}
    assert {"max_model_len", "concurrency"} <= changes.keys()
    length = int(changes["max_model_len"].change.split()[1])
    fitting = request(QWEN_32B, "big", concurrency=16, max_model_len=length, tensor_parallel=1)
    place([fitting, request(LLAMA_8B, "chat")], [h100(0), h100(1)])


def test_a_refusal_can_be_printed_and_encoded() -> None:
    refusal = _refusal()
    output = StringIO()
    print_failure(refusal, Console(file=output, width=160))
    assert "What would make it fit" in output.getvalue()
    assert failure_document(refusal)["error"] == str(refusal)


def test_when_no_single_change_helps_the_missing_memory_is_named() -> None:
    with pytest.raises(NoFitError) as caught:
        place_or_advise([request("deepseek-ai/DeepSeek-V3")], [h100(0), h100(1)], no_measurements)
    assert caught.value.suggestions[0].change.endswith(" GiB more on each GPU, or more GPUs")


def test_two_gpus_are_suggested_where_one_was_demanded() -> None:
    with pytest.raises(NoFitError) as caught:
        place_or_advise(
            [request(QWEN_32B, tensor_parallel=1, concurrency=4, max_model_len=32768)],
            [h100(0), h100(1)],
            no_measurements,
        )
    assert any(item.change.startswith("tensor_parallel: 2") for item in caught.value.suggestions)


def test_moving_a_model_away_is_suggested_when_the_rest_would_fit() -> None:
    with pytest.raises(NoFitError) as caught:
        place_or_advise(
            [request(QWEN_32B, "a", max_model_len=4096), request(QWEN_32B, "b", max_model_len=4096)],
            [h100(0)],
            no_measurements,
        )
    assert {item.model for item in caught.value.suggestions if item.change.startswith("move")} == {"a", "b"}


def test_the_runner_is_said_where_vllm_might_choose_another() -> None:
    lines = [
        plan_commands(place([request(config, task=task)], [h100()]))[0].line
        for config, task in (
            (LLAMA_8B, Task.POOL),
            (BGE_M3, None),
            (LLAMA_8B, Task.GENERATE),
            (LLAMA_8B, None),
        )
    ]
    assert ["--runner pooling" in line for line in lines] == [True, True, False, False]
    assert ["--runner generate" in line for line in lines] == [False, False, True, False]
