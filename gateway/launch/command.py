"""The `vllm serve` command line and environment of a planned instance, and a script that starts all of them.

Pure: makes strings. Starting them is another room's business.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.launch.memory.device import DeviceKind
from gateway.launch.memory.model import Task
from gateway.launch.memory.versions import Version
from gateway.launch.plan import Plan, PlannedInstance

FIRST_PORT = 8101
_RUNNER_SINCE = Version(0, 10, 1)
_START_LIMIT_S = 1800


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """How to start one server."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """To be set on top of the caller's environment."""
    clear_env: tuple[str, ...]
    """To be removed from the caller's environment, because they would override the plan."""
    port: int

    @property
    def line(self) -> str:
        """The command as one shell line, without the environment."""
        return shlex.join(self.argv)


def serve_command(
    planned: PlannedInstance,
    kind: DeviceKind,
    port: int,
    vllm_command: Sequence[str] = ("vllm",),
) -> ServeCommand:
    """The command of one instance.

    Args:
        planned: the instance.
        kind: of its devices.
        port: to listen on, on loopback.
        vllm_command: how vLLM is called, such as another environment's `vllm` or a container command.
    """
    request = planned.request
    name = request.served_name or request.name
    argv = [*vllm_command, "serve", request.source, "--served-model-name", name]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    argv += [
        *_parallel_flags(planned),
        *_memory_flags(planned),
        *_model_flags(planned),
        *_lora_flags(planned),
    ]
    argv += request.args
    env: dict[str, str] = {}
    if kind is DeviceKind.CUDA:
        # NVML counts devices by PCI bus, CUDA by speed unless it is told.
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        env["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in planned.gpus)
    clear = ("VLLM_CPU_KVCACHE_SPACE",) if kind is DeviceKind.CPU else ()
    return ServeCommand(tuple(argv), env | dict(request.env), clear, port)


def plan_commands(plan: Plan, vllm_command: Sequence[str] = ("vllm",)) -> tuple[ServeCommand, ...]:
    """The commands of all instances in start order, with ports counted up where none was asked for."""
    kinds = {use.device.index: use.device.kind for use in plan.gpus}
    taken = {planned.request.port for planned in plan.instances if planned.request.port is not None}
    free = (port for port in range(FIRST_PORT, 65536) if port not in taken)
    return tuple(
        serve_command(planned, kinds[planned.gpus[0]], planned.request.port or next(free), vllm_command)
        for planned in plan.instances
    )


def _parallel_flags(planned: PlannedInstance) -> Iterator[str]:
    if planned.budget.shape.tp > 1:
        yield from ("--tensor-parallel-size", str(planned.budget.shape.tp))
    if planned.budget.shape.pp > 1:
        yield from ("--pipeline-parallel-size", str(planned.budget.shape.pp))


def _memory_flags(planned: PlannedInstance) -> Iterator[str]:
    """Both numbers: the start gate uses the utilisation even where the KV size is explicit.

    On the CPU too, despite the flag's name: without it an encoder asks for 92 % of the RAM to be free.
    """
    yield from ("--gpu-memory-utilization", f"{planned.utilization:.4f}")
    has_cache = not planned.budget.geometry.is_empty
    if has_cache and planned.budget.shape.version.has_kv_cache_memory_flag:
        yield from ("--kv-cache-memory-bytes", str(planned.kv_bytes))
    yield from ("--max-num-seqs", str(planned.budget.max_num_seqs))
    yield from ("--max-num-batched-tokens", str(planned.budget.max_num_batched_tokens))


def _model_flags(planned: PlannedInstance) -> Iterator[str]:
    request = planned.request
    if request.max_model_len is not None:
        yield from ("--max-model-len", str(request.max_model_len))
    if request.kv_cache_dtype != "auto":
        yield from ("--kv-cache-dtype", request.kv_cache_dtype)
    if request.dtype != "auto":
        yield from ("--dtype", request.dtype)
    if request.quantization is not None:
        yield from ("--quantization", request.quantization)
    if request.enforce_eager:
        yield "--enforce-eager"
    # Before 0.10.1 the same was said with --task.
    recent = request.version >= _RUNNER_SINCE
    if request.effective_task is Task.POOL and recent:
        yield from ("--runner", "pooling")
    elif request.effective_task is Task.POOL and request.model.task is not Task.POOL:
        yield from ("--task", "embed")
    elif request.task is Task.GENERATE:
        yield from ("--runner", "generate") if recent else ("--task", "generate")


def _lora_flags(planned: PlannedInstance) -> Iterator[str]:
    slots = planned.budget.shape.lora
    if slots is None:
        return
    yield from ("--enable-lora", "--max-loras", str(slots.max_loras), "--max-lora-rank", str(slots.rank))
    if planned.request.adapters:
        yield "--lora-modules"
        yield from (f"{name}={path}" for name, path in planned.request.adapters.items())


def shell_script(plan: Plan, vllm_command: Sequence[str] = ("vllm",)) -> str:
    """A Bash script that starts the servers one after the other and stops them all when it ends.

    Starting two at once would make each charge the other's loading to itself (vllm#55827).
    """
    lines = [
        "#!/usr/bin/env bash",
        "# Starts the servers of the plan in order, each once the one before it answers.",
        "set -euo pipefail",
        "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
        "wait_for() {  # port, process id",
        f"  for _ in $(seq {_START_LIMIT_S}); do",
        '    curl -fsS -o /dev/null "http://127.0.0.1:$1/health" 2>/dev/null && return',
        '    kill -0 "$2" 2>/dev/null || { echo "the server on port $1 ended while starting" >&2; exit 1; }',
        "    sleep 1",
        "  done",
        f'  echo "the server on port $1 was not ready after {_START_LIMIT_S} s" >&2; exit 1',
        "}",
    ]
    for planned, command in zip(plan.instances, plan_commands(plan, vllm_command), strict=True):
        gpus = ", ".join(str(gpu) for gpu in planned.gpus)
        settings = [f"{name}={shlex.quote(value)}" for name, value in command.env.items()]
        cleared = [f"-u {name}" for name in command.clear_env]
        lines += [
            "",
            f"# {planned.start_order + 1}. {_one_line(planned.request.label)} on device {gpus}",
            " ".join(["env", *cleared, *settings, command.line, "&"]),
            f"wait_for {command.port} $!",
        ]
    return "\n".join([*lines, "", "wait", ""])


def _one_line(text: str) -> str:
    return " ".join(text.split())
