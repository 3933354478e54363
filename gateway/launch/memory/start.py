"""Whether one vLLM would start alone with a given `--gpu-memory-utilization`.

This is vLLM's own arithmetic (`v1/worker/gpu_worker.py`, determine_available_memory): the plan uses explicit
KV sizes instead, but an operator's own utilisation, and starts that failed, are judged by it.
"""

from dataclasses import dataclass

from gateway.launch.memory.budget import InstanceBudget
from gateway.launch.memory.device import Device
from gateway.launch.memory.terms import GIB


@dataclass(frozen=True, slots=True)
class StartVerdict:
    """What would happen."""

    fits: bool
    reason: str
    """Why not; empty if it fits."""
    available_kv_bytes: int
    """What vLLM would find left for the KV cache; negative if even the weights do not fit."""


def predict_start(budget: InstanceBudget, device: Device, utilization: float) -> StartVerdict:
    """The start of one instance on an otherwise unchanged device.

    Args:
        budget: of the instance.
        device: one of its devices; `used_bytes` is what others hold.
        utilization: value of --gpu-memory-utilization.
    """
    requested = int(device.total_bytes * utilization)
    charged = budget.budget_bytes
    outside = budget.context.size_bytes
    if not budget.shape.version.graphs_in_budget:
        charged -= budget.graphs.size_bytes
        outside += budget.graphs.size_bytes
    if budget.shape.version.charges_neighbours:
        charged += device.used_bytes
    available = requested - charged
    free = device.usable_bytes - outside
    return StartVerdict(*_judge(budget, requested, available, free), available)


def _judge(budget: InstanceBudget, requested: int, available: int, free: int) -> tuple[bool, str]:
    needed = budget.least_kv_bytes
    if requested > free:
        return False, (
            f"the budget of {requested / GIB:.2f} GiB and what lies outside it need more than the "
            f"{free / GIB:.2f} GiB that the device can give"
        )
    if available <= 0:
        return False, f"weights and activations leave {available / GIB:.2f} GiB for the KV cache"
    if available < needed:
        return False, (
            f"one request of {budget.max_model_len} tokens needs {needed / GIB:.2f} GiB of KV cache, "
            f"{available / GIB:.2f} GiB are left"
        )
    return True, ""
