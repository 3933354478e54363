"""A plan as JSON: what `vllm-gateway plan --json` prints.

Sizes are in GiB (2^30 bytes) and per GPU of the instance.

    instances: list, in start order
      model                   name in the configuration
      replica                 0-based number among the model's replicas
      gpus                    device indices
      tensor_parallel, pipeline_parallel
      gpu_memory_utilization  value of --gpu-memory-utilization
      weights_gib             what vLLM logs as `Model loading took`, LoRA slots included
      lora_gib                the LoRA slots' part of it
      kv_cache_gib            KV cache
      activation_gib          peak of the profile run
      cuda_graphs_gib
      context_gib             CUDA context, communication, libraries: inside and outside vLLM's budget
      kv_bytes_per_block      bytes of one block of the pool
      block_tokens            tokens of one block
      kv_tokens               what vLLM logs as `KV cache size`
      max_concurrency         requests of max_model_len tokens at once
      max_model_len, max_num_seqs, max_num_batched_tokens
      start_order             0-based
      origins                 term -> measured | exact | from config | fitted
      command                 list of arguments
      env                     variables to set
      warnings                list of sentences
    gpus: list
      index, name, kind       kind: cuda | cpu
      memory_gib              total
      used_gib                by others and by the plan
      slack_gib               left free, margin included
    warnings                  of the plan as a whole
    exhaustive                whether every placement was tried

A plan that does not fit is `{"error": sentence, "suggestions": [{"model", "change"}]}`.
"""

from collections.abc import Sequence

from gateway.launch.command import ServeCommand, plan_commands
from gateway.launch.memory.terms import GIB
from gateway.launch.plan import GpuUse, NoFitError, Plan, PlannedInstance

_DIGITS = 4


def plan_document(plan: Plan, vllm_command: Sequence[str] = ("vllm",)) -> dict[str, object]:
    """The plan as plain data, ready for a JSON encoder."""
    commands = plan_commands(plan, vllm_command)
    return {
        "instances": [_instance(*pair) for pair in zip(plan.instances, commands, strict=True)],
        "gpus": [_gpu(use) for use in plan.gpus],
        "warnings": list(plan.warnings),
        "exhaustive": plan.exhaustive,
    }


def failure_document(error: NoFitError) -> dict[str, object]:
    """A plan that does not fit, as plain data."""
    suggestions = [{"model": item.model, "change": item.change} for item in error.suggestions]
    return {"error": str(error), "suggestions": suggestions}


def _instance(planned: PlannedInstance, command: ServeCommand) -> dict[str, object]:
    budget, geometry = planned.budget, planned.budget.geometry
    return {
        "model": planned.request.name,
        "replica": planned.request.replica,
        "gpus": list(planned.gpus),
        "tensor_parallel": budget.shape.tp,
        "pipeline_parallel": budget.shape.pp,
        "gpu_memory_utilization": planned.utilization,
        "weights_gib": _gib(budget.weights.size_bytes + budget.lora.size_bytes),
        "lora_gib": _gib(budget.lora.size_bytes),
        "kv_cache_gib": _gib(planned.kv_bytes),
        "activation_gib": _gib(budget.activation.size_bytes),
        "cuda_graphs_gib": _gib(budget.graphs.size_bytes),
        "context_gib": _gib(budget.context.size_bytes + budget.inside.size_bytes),
        "kv_bytes_per_block": geometry.bytes_per_block,
        "block_tokens": geometry.block_tokens,
        "kv_tokens": planned.kv_tokens,
        "max_concurrency": round(planned.max_concurrency, _DIGITS),
        "max_model_len": budget.max_model_len,
        "max_num_seqs": budget.max_num_seqs,
        "max_num_batched_tokens": budget.max_num_batched_tokens,
        "start_order": planned.start_order,
        "origins": {term: str(origin) for term, origin in planned.origins.items()},
        "command": list(command.argv),
        "env": dict(command.env),
        "warnings": list(planned.warnings),
    }


def _gpu(use: GpuUse) -> dict[str, object]:
    return {
        "index": use.device.index,
        "name": use.device.name,
        "kind": str(use.device.kind),
        "memory_gib": _gib(use.device.total_bytes),
        "used_gib": _gib(use.used_bytes),
        "slack_gib": _gib(use.slack_bytes),
    }


def _gib(size_bytes: int) -> float:
    return round(size_bytes / GIB, _DIGITS)
