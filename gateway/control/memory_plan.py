"""The launch planner's result as the admin API shows it."""

from collections.abc import Mapping

from gateway.control.admin.status import DeviceStatus, ServerMemory
from gateway.launch.plan import GpuUse, Plan, PlannedInstance


def devices_of(plan: Plan, urls: Mapping[str, str]) -> tuple[DeviceStatus, ...]:
    """Each GPU with the servers on it, in the plan's order. `urls` are the replicas' by instance label."""
    return tuple(_device(use, plan, urls) for use in plan.gpus)


def _device(use: GpuUse, plan: Plan, urls: Mapping[str, str]) -> DeviceStatus:
    device = use.device
    return DeviceStatus(
        index=device.index,
        name=device.name,
        total_bytes=device.total_bytes,
        others_bytes=device.used_bytes,
        servers=tuple(
            _server(planned, urls.get(planned.request.label, ""))
            for planned in plan.instances
            if device.index in planned.gpus
        ),
    )


def _server(planned: PlannedInstance, url: str) -> ServerMemory:
    weights_bytes = planned.budget.weights.size_bytes + planned.budget.lora.size_bytes
    return ServerMemory(
        model=planned.request.label,
        replica=url,
        weights_bytes=weights_bytes,
        kv_cache_bytes=planned.kv_bytes,
        other_bytes=planned.used_bytes - planned.kv_bytes - weights_bytes,
        kv_tokens=planned.kv_tokens,
    )
