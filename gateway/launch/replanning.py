"""A new place for one server that ran out of memory while starting: smaller, on the same devices. Pure.

The others run, so they keep what they have. What the failed start said counts: its weights, and how much it
lacked.
"""

from collections.abc import Iterable
from dataclasses import replace

from gateway.launch.memory.terms import GIB
from gateway.launch.placement.advice import place_or_advise
from gateway.launch.placement.demand import Measurements
from gateway.launch.plan import GpuUse, NoFitError, Plan, PlannedInstance


def replanned(
    plan: Plan, failed: PlannedInstance, measured: Measurements, missing_bytes: int | None
) -> PlannedInstance:
    """The failed instance with less memory.

    Args:
        plan: what everybody else keeps to.
        failed: one of its instances.
        measured: what was measured, of the failed start too.
        missing_bytes: what the start lacked on a device; None: nobody knows, so a device's margin is assumed.

    Raises:
        NoFitError: there is less than it needs, or nothing in it can become smaller.
    """
    devices = []
    for use in plan.gpus:
        if use.device.index in failed.gpus:
            lacking = use.device.margin_bytes if missing_bytes is None else missing_bytes
            others = use.used_bytes - failed.used_bytes
            devices.append(replace(use.device, used_bytes=others + lacking))
    request = replace(failed.request, gpus=failed.gpus, tensor_parallel=failed.tensor_parallel)
    (found,) = place_or_advise((request,), devices, measured).instances
    if (found.kv_bytes, found.utilization) == (failed.kv_bytes, failed.utilization):
        raise NoFitError("planning it again with the measured numbers changes nothing")
    return replace(found, request=failed.request, gpus=failed.gpus, start_order=failed.start_order)


def with_instance(plan: Plan, changed: PlannedInstance) -> Plan:
    """The plan with one of its instances replaced by another of the same label."""
    instances = tuple(
        changed if planned.request.label == changed.request.label else planned for planned in plan.instances
    )
    return replace(plan, instances=instances, gpus=tuple(_use(use, instances) for use in plan.gpus))


def change_in_words(before: PlannedInstance, after: PlannedInstance) -> str:
    """What is different, for people."""
    if before.kv_bytes == after.kv_bytes:
        return f"gpu_memory_utilization {before.utilization:.4f} -> {after.utilization:.4f}"
    return f"KV cache {before.kv_bytes / GIB:.2f} GiB -> {after.kv_bytes / GIB:.2f} GiB"


def _use(use: GpuUse, instances: Iterable[PlannedInstance]) -> GpuUse:
    mine = sum(planned.used_bytes for planned in instances if use.device.index in planned.gpus)
    return GpuUse(use.device, use.device.used_bytes + mine)
