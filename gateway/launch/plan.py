"""The outcome of planning, as values: instances on GPUs, or the reasons why they do not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.launch.memory.budget import InstanceBudget
from gateway.launch.memory.device import Device
from gateway.launch.memory.terms import GIB, Origin
from gateway.launch.request import InstanceRequest


@dataclass(frozen=True, slots=True)
class PlannedInstance:
    """One vLLM server with its place and its sizes; all bytes are per GPU."""

    request: InstanceRequest
    gpus: tuple[int, ...]
    budget: InstanceBudget
    kv_bytes: int
    utilization: float
    """Value of --gpu-memory-utilization: what vLLM's start gate asks to be free, as a share of the card."""
    start_order: int
    """0-based: servers start one after the other."""
    warnings: tuple[str, ...] = ()

    @property
    def tensor_parallel(self) -> int:
        """GPUs of one pipeline stage."""
        return self.budget.shape.tp

    @property
    def used_bytes(self) -> int:
        """What the instance takes from each of its cards."""
        return self.budget.fixed_bytes + self.kv_bytes

    @property
    def kv_tokens(self) -> int:
        """Tokens in the KV cache, as vLLM's log counts them."""
        return self.budget.geometry.tokens(self.kv_bytes)

    @property
    def max_concurrency(self) -> float:
        """Requests of full length at once; 0 without a KV cache."""
        return self.budget.geometry.concurrency(self.kv_bytes)

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each term comes from."""
        return {
            "weights": self.budget.weights.origin,
            "kv_cache": Origin.CONFIG if self.request.model.notes else Origin.EXACT,
            "activation": self.budget.activation.origin,
            "cuda_graphs": self.budget.graphs.origin,
            "context": self.budget.context.origin,
        }


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One device of the plan."""

    device: Device
    used_bytes: int
    """By others and by the plan's instances."""

    @property
    def slack_bytes(self) -> int:
        """What stays free, margin included."""
        return self.device.total_bytes - self.used_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that fits, in start order."""

    instances: tuple[PlannedInstance, ...]
    gpus: tuple[GpuUse, ...]
    warnings: tuple[str, ...] = ()
    exhaustive: bool = True
    """Whether every placement was tried, so that this is the best one."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change that would make everything fit."""

    model: str
    change: str
    """One sentence with numbers."""


class NoFitError(Exception):
    """The instances do not fit; the message says by how much, `suggestions` what would help."""

    def __init__(self, message: str, suggestions: Sequence[Suggestion] = (), *, proven: bool = True) -> None:
        super().__init__(message)
        self.suggestions = tuple(suggestions)
        self.proven = proven


@dataclass(frozen=True, slots=True)
class GateCheck:
    """vLLM's start gate for one instance on one GPU."""

    instance: PlannedInstance
    gpu: int
    free_bytes: int
    """Free at that moment, after the instance's own context."""
    requested_bytes: int

    @property
    def passes(self) -> bool:
        """Whether vLLM will go on."""
        return self.requested_bytes <= self.free_bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """What a plan promises, checked from its numbers alone."""

    gates: tuple[GateCheck, ...] = field(default=())
    overfull: tuple[int, ...] = field(default=())
    """GPUs on which less than the margin stays free."""

    @property
    def holds(self) -> bool:
        """Whether every start passes its gate and no card is overfull."""
        return not self.overfull and all(gate.passes for gate in self.gates)


def verify(plan: Plan) -> Verification:
    """Start the plan's instances in order, on paper (vLLM `v1/worker/utils.py`, request_memory)."""
    taken = {use.device.index: use.device.used_bytes for use in plan.gpus}
    devices = {use.device.index: use.device for use in plan.gpus}
    gates = []
    for instance in sorted(plan.instances, key=lambda planned: planned.start_order):
        for gpu in instance.gpus:
            total = devices[gpu].total_bytes
            free = total - taken[gpu] - instance.budget.context.size_bytes
            requested = -int(-total * instance.utilization // 1)
            gates.append(GateCheck(instance, gpu, free, requested))
            taken[gpu] += instance.used_bytes
    overfull = [
        gpu for gpu, used in taken.items() if used > devices[gpu].total_bytes - devices[gpu].margin_bytes
    ]
    return Verification(tuple(gates), tuple(overfull))


def gib(size_bytes: int) -> str:
    """A size for sentences."""
    return f"{size_bytes / GIB:.1f} GiB"
