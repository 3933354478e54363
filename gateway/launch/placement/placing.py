"""Placing instances on devices, and dividing what is left among their KV caches."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from gateway.launch.memory.budget import InstanceBudget
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.terms import GIB, UnmodelledError
from gateway.launch.placement.demand import (
    Demand,
    Measurements,
    demand_of,
    growth_weight,
    item_of,
    least_kv_bytes,
    no_measurements,
)
from gateway.launch.placement.packing import SEARCH_NODES, Bin, Packing, Placed, pack
from gateway.launch.placement.sharing import Claim, share_spare
from gateway.launch.plan import GpuUse, NoFitError, Plan, PlannedInstance, gib
from gateway.launch.request import InstanceRequest

_UTILIZATION_STEP = 10_000
"""--gpu-memory-utilization is given with four digits."""
_PLANNED_OPTIONS = {
    "--max-model-len": "max_model_len",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--pipeline-parallel-size": "pipeline_parallel",
    "-pp": "pipeline_parallel",
    "--kv-cache-dtype": "kv_cache_dtype",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "-q": "quantization",
    "--enforce-eager": "enforce_eager",
    "--enable-lora": "adapters",
    "--max-loras": "max_loras",
    "--max-lora-rank": "max_lora_rank",
    "--runner": "task",
    "--task": "task",
}
"""Arguments of vLLM that the plan computes with, and how to tell it."""
_QUICK_SEARCH = 2_000
"""Search steps where many variants are tried for advice."""


def place(
    requests: Sequence[InstanceRequest],
    devices: Sequence[Device],
    measured: Measurements = no_measurements,
) -> Plan:
    """A plan in which every start passes vLLM's gate and no device is filled beyond its margin.

    Args:
        requests: the instances.
        devices: what they may use.
        measured: what earlier starts reported.

    Raises:
        NoFitError: they do not fit; without suggestions, which `advice` adds.
        UnmodelledError: something about an instance is not modelled.
    """
    demands = [demand_of(request, devices, measured) for request in requests]
    packing = find_packing(demands, devices)
    if packing.placed is None:
        raise NoFitError(_shortage(demands, devices), proven=packing.exhaustive)
    granted = _kv_sizes(demands, packing.placed, devices)
    instances = [
        _instance(demand, placed, kv_bytes, devices)
        for demand, placed, kv_bytes in zip(demands, packing.placed, granted, strict=True)
    ]
    ordered = _in_start_order(instances)
    warnings = (*_busy_devices(devices), *_charged_neighbours(ordered, devices))
    return Plan(ordered, _gpu_uses(ordered, devices), warnings, packing.exhaustive)


def fits(requests: Sequence[InstanceRequest], devices: Sequence[Device], measured: Measurements) -> bool:
    """Whether a packing exists (as far as the search goes)."""
    try:
        demands = [demand_of(request, devices, measured) for request in requests]
    except UnmodelledError:
        return False
    return find_packing(demands, devices, _QUICK_SEARCH).placed is not None


def find_packing(demands: Sequence[Demand], devices: Sequence[Device], nodes: int = SEARCH_NODES) -> Packing:
    """The best packing of the least demands: the fewest GPUs, then the KV caches that can grow the most."""
    kinds: dict[tuple[str, int], int] = {}
    bins = [Bin(d.usable_bytes, kinds.setdefault(_kind(d), len(kinds))) for d in devices]

    def score(placed: Sequence[Placed]) -> float:
        claims, spare = _claims(demands, placed, devices)
        grown = share_spare(claims, spare)
        multiples = [
            amount / claim.weight for amount, claim in zip(grown, claims, strict=True) if claim.weight
        ]
        return min(multiples, default=0.0) + sum(multiples) / 1000

    return pack([item_of(demand) for demand in demands], bins, score, nodes)


def _kind(device: Device) -> tuple[str, int]:
    """Devices over which one instance may be divided: its ranks take the smallest one's cache."""
    return device.name, round(device.total_bytes / GIB)


def _chosen(demand: Demand, placed: Placed) -> InstanceBudget:
    """The budget on the placed instance's devices, which are alike."""
    budgets = [demand.options[placed.choice].budgets[b] for b in placed.bins]
    usable = [budget for budget in budgets if budget is not None]
    return max(usable, key=lambda budget: budget.fixed_bytes)


def _claims(
    demands: Sequence[Demand], placed: Sequence[Placed], devices: Sequence[Device]
) -> tuple[list[Claim], Mapping[int, int]]:
    spare = {b: device.usable_bytes for b, device in enumerate(devices)}
    claims = []
    for demand, where in zip(demands, placed, strict=True):
        budget = _chosen(demand, where)
        for b in where.bins:
            spare[b] -= budget.fixed_bytes + least_kv_bytes(demand.request, budget)
        claims.append(Claim(where.bins, growth_weight(demand.request, budget)))
    return claims, spare


def _kv_sizes(demands: Sequence[Demand], placed: Sequence[Placed], devices: Sequence[Device]) -> list[int]:
    """KV cache of every instance, in whole blocks unless it was given."""
    claims, spare = _claims(demands, placed, devices)
    sizes = []
    for demand, where, grown in zip(demands, placed, share_spare(claims, spare), strict=True):
        budget = _chosen(demand, where)
        size = least_kv_bytes(demand.request, budget) + grown
        block = budget.geometry.bytes_per_block
        given = demand.request.kv_cache_bytes is not None
        sizes.append(size if given or not block else size - size % block)
    return sizes


def _instance(demand: Demand, placed: Placed, kv_bytes: int, devices: Sequence[Device]) -> PlannedInstance:
    budget = _chosen(demand, placed)
    largest = max(devices[b].total_bytes for b in placed.bins)
    asked = budget.budget_bytes + kv_bytes
    if budget.shape.version.has_kv_cache_memory_flag:
        # The KV size is explicit, so the gate need not reserve what lies outside PyTorch.
        asked -= budget.inside.size_bytes
    utilization = min(1.0, ceil(asked / largest * _UTILIZATION_STEP) / _UTILIZATION_STEP)
    return PlannedInstance(
        request=demand.request,
        gpus=tuple(devices[b].index for b in placed.bins),
        budget=budget,
        kv_bytes=kv_bytes,
        utilization=utilization,
        start_order=0,
        warnings=budget.warnings + _instance_warnings(demand.request, budget, kv_bytes),
    )


def _instance_warnings(request: InstanceRequest, budget: InstanceBudget, kv_bytes: int) -> tuple[str, ...]:
    found = []
    least = budget.least_kv_bytes
    if kv_bytes < least:
        longest = budget.geometry.longest_request(kv_bytes)
        found.append(
            f"a KV cache of {kv_bytes / GIB:.2f} GiB does not hold one request of {budget.max_model_len} "
            f"tokens ({least / GIB:.2f} GiB): vLLM will refuse to start; {longest} tokens would fit"
        )
    found.extend(_argument_warnings(request.args))
    return tuple(found)


def _argument_warnings(args: Sequence[str]) -> list[str]:
    """Options that change the memory behind the plan's back."""
    names = {argument.partition("=")[0] for argument in args}
    found = []
    if names & {"--speculative-config", "--speculative-model", "--spec-method", "-sc"}:
        found.append(
            "speculative decoding is not modelled: the draft model's weights and cache are missing here"
        )
    if names & {"--gpu-memory-utilization", "--kv-cache-memory-bytes", "--kv-cache-memory"}:
        found.append("its args set the memory themselves and override the plan's numbers")
    found += [
        f"{flag} among its args overrides the plan's numbers: say `{option}` under `launch` instead"
        for flag, option in _PLANNED_OPTIONS.items()
        if flag in names
    ]
    if names & {"--data-parallel-size", "-dp", "--enable-expert-parallel", "--decode-context-parallel-size"}:
        found.append("data, expert and context parallelism are not modelled: they change what each GPU holds")
    if names & {"--cpu-offload-gb", "--kv-transfer-config", "--swap-space"}:
        found.append("offloading is not modelled: the real use of the GPU is smaller")
    return found


def _in_start_order(instances: Sequence[PlannedInstance]) -> tuple[PlannedInstance, ...]:
    """By priority, then the largest first: it has the least room for a surprise while loading."""
    ranked = sorted(instances, key=lambda p: (-p.request.priority, -p.used_bytes, p.request.label))
    return tuple(_numbered(planned, order) for order, planned in enumerate(ranked))


def _numbered(planned: PlannedInstance, order: int) -> PlannedInstance:
    return PlannedInstance(
        request=planned.request,
        gpus=planned.gpus,
        budget=planned.budget,
        kv_bytes=planned.kv_bytes,
        utilization=planned.utilization,
        start_order=order,
        warnings=planned.warnings,
    )


def _gpu_uses(instances: Sequence[PlannedInstance], devices: Sequence[Device]) -> tuple[GpuUse, ...]:
    uses = []
    for device in devices:
        mine = sum(planned.used_bytes for planned in instances if device.index in planned.gpus)
        uses.append(GpuUse(device, device.used_bytes + mine))
    return tuple(uses)


def _charged_neighbours(instances: Sequence[PlannedInstance], devices: Sequence[Device]) -> Iterator[str]:
    for device in devices:
        here = [planned for planned in instances if device.index in planned.gpus]
        old = [p.request.label for p in here if p.budget.shape.version.charges_neighbours]
        if old and (len(here) > 1 or device.used_bytes > GIB):
            yield (
                f"vLLM before 0.9.1 takes what others use of GPU {device.index} off its own KV cache: "
                f"{', '.join(old)} may not start; update vLLM, or give each a GPU of its own"
            )


def _busy_devices(devices: Sequence[Device]) -> tuple[str, ...]:
    busy = [device for device in devices if device.used_bytes > GIB and device.kind is DeviceKind.CUDA]
    return tuple(
        f"GPU {device.index} has {gib(device.used_bytes)} in use by others, which the plan leaves alone"
        for device in busy
    )


def _shortage(demands: Sequence[Demand], devices: Sequence[Device]) -> str:
    usable = sum(device.usable_bytes for device in devices)
    largest = max((device.usable_bytes for device in devices), default=0)
    others = sum(device.used_bytes for device in devices)
    taken = f", since others use {gib(others)}" if others > GIB else ""
    needs = {demand.request.label: _loads(demand) for demand in demands}
    for label, loads in needs.items():
        load, world = min(loads)
        if load > largest:
            each = f" on each of {world} GPUs" if world > 1 else ""
            return (
                f"{label} needs {gib(load)}{each}, but the largest device has {gib(largest)} to give{taken}"
            )
    totals = {label: min(load * world for load, world in loads) for label, loads in needs.items()}
    total = sum(totals.values())
    listed = ", ".join(f"{label} {gib(size)}" for label, size in totals.items())
    if total > usable:
        return (
            f"together they need {gib(total)} ({listed}), but the devices have {gib(usable)} to give{taken}"
        )
    return f"there is memory enough ({gib(total)} of {gib(usable)}: {listed}), but not in pieces that fit"


def _loads(demand: Demand) -> list[tuple[int, int]]:
    """(bytes per GPU, GPUs) of every option, on the device where it takes the least."""
    found = []
    for option in demand.options:
        loads = [b.fixed_bytes + least_kv_bytes(demand.request, b) for b in option.budgets if b is not None]
        found.append((min(loads), option.world))
    return found
