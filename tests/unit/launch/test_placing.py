"""Plans: every accepted one starts, shares fairly, and nothing that fits is refused."""

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.launch.memory.budget import Measured, Shape
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.model import Task
from gateway.launch.memory.tensors import Checkpoint, TensorInfo
from gateway.launch.memory.terms import GIB, Origin, UnmodelledError
from gateway.launch.memory.versions import Version
from gateway.launch.placement.demand import Demand, demand_of, least_kv_bytes, no_measurements
from gateway.launch.placement.placing import place
from gateway.launch.plan import NoFitError, Plan, verify
from gateway.launch.request import InstanceRequest
from tests.unit.launch.builders import BGE_M3, LLAMA_8B, QWEN_32B, card, h100, llama_config, request

_CONFIGS: list[dict[str, Any] | str] = [
    llama_config(),
    llama_config(num_hidden_layers=24, hidden_size=2048, intermediate_size=8192),
    LLAMA_8B,
    "Qwen/Qwen3-0.6B",
    "google/gemma-3-1b-it",
    "Qwen/Qwen3.5-9B",
    BGE_M3,
]


@st.composite
def _fleets(draw: st.DrawFn, most: int = 5, gpus: int = 4) -> tuple[list[InstanceRequest], list[Device]]:
    devices = [
        Device(
            index,
            draw(st.sampled_from(["H100", "RTX 3090", "L4"])),
            int(draw(st.sampled_from([15.5, 23.56, 44.5, 79.19])) * GIB),
            used_bytes=int(draw(st.sampled_from([0, 0, 0, 3])) * GIB),
        )
        for index in range(draw(st.integers(1, gpus)))
    ]
    requests = [
        request(
            draw(st.sampled_from(_CONFIGS)),
            f"m{number}",
            tensor_parallel=draw(st.sampled_from([None, None, 1, 2])),
            concurrency=draw(st.sampled_from([None, 1, 4, 16])),
            max_model_len=draw(st.sampled_from([2048, 4096, 32768])),
            max_num_seqs=draw(st.sampled_from([None, 16, 256])),
            enforce_eager=draw(st.booleans()),
            kv_cache_dtype=draw(st.sampled_from(["auto", "fp8"])),
            priority=draw(st.sampled_from([0, 0, 1])),
        )
        for number in range(draw(st.integers(1, most)))
    ]
    return requests, devices


@settings(max_examples=80, deadline=None)
@given(_fleets())
def test_every_accepted_plan_passes_the_start_gate_in_order_and_leaves_the_margin(
    fleet: tuple[list[InstanceRequest], list[Device]],
) -> None:
    requests, devices = fleet
    try:
        plan = place(requests, devices)
    except (NoFitError, UnmodelledError):
        return
    verification = verify(plan)
    assert verification.overfull == ()
    assert [gate for gate in verification.gates if not gate.passes] == []
    assert len(verification.gates) == sum(len(planned.gpus) for planned in plan.instances)
    assert sorted(p.request.name for p in plan.instances) == sorted(r.name for r in requests)
    _assert_promises_are_kept(plan)


def _assert_promises_are_kept(plan: Plan) -> None:
    for planned in plan.instances:
        budget = planned.budget
        asked = planned.request.concurrency or 1
        if not budget.geometry.is_empty:
            assert planned.max_concurrency >= asked
            assert planned.kv_bytes % budget.geometry.bytes_per_block == 0
        assert len(set(planned.gpus)) == budget.shape.tp * budget.shape.pp
        taken = budget.budget_bytes - budget.inside.size_bytes + planned.kv_bytes
        for use in plan.gpus:
            if use.device.index in planned.gpus:
                assert planned.utilization * use.device.total_bytes >= taken - 1


@settings(max_examples=40, deadline=None)
@given(_fleets(most=3, gpus=3))
def test_no_plan_is_refused_that_brute_force_can_place(
    fleet: tuple[list[InstanceRequest], list[Device]],
) -> None:
    requests, devices = fleet
    try:
        demands = [demand_of(item, devices, no_measurements) for item in requests]
    except UnmodelledError:
        return
    try:
        place(requests, devices)
    except NoFitError:
        assert not _fits_by_brute_force(demands, devices)


def _fits_by_brute_force(demands: list[Demand], devices: list[Device]) -> bool:
    """Every GPU set for every tensor-parallel size of every instance."""
    ways = []
    for demand in demands:
        found = []
        for option in demand.options:
            for chosen in combinations(range(len(devices)), option.world):
                budgets = [option.budgets[b] for b in chosen]
                alike = len({(devices[b].name, devices[b].total_bytes) for b in chosen}) == 1
                if alike and all(budget is not None for budget in budgets):
                    loads = [b.fixed_bytes + least_kv_bytes(demand.request, b) for b in budgets if b]
                    found.append((chosen, loads))
        ways.append(found)
    for choice in product(*ways):
        free = [device.usable_bytes for device in devices]
        for chosen, loads in choice:
            for b, load in zip(chosen, loads, strict=True):
                free[b] -= load
        if min(free) >= 0:
            return True
    return False


def test_big_models_get_whole_cards_and_small_ones_share() -> None:
    plan = place(
        [
            request(LLAMA_8B, "small", concurrency=6, max_model_len=16384),
            request(QWEN_32B, "big", concurrency=2, max_model_len=16384),
            request(BGE_M3, "embed"),
        ],
        [h100(0), h100(1)],
    )
    where = {planned.request.name: planned.gpus for planned in plan.instances}
    assert len(where["big"]) == 1
    assert where["small"] == where["embed"]
    assert where["big"] != where["small"]


def test_spare_memory_is_shared_in_proportion_to_the_wanted_concurrency() -> None:
    plan = place(
        [
            request(LLAMA_8B, "one", concurrency=1, max_model_len=8192),
            request(LLAMA_8B, "three", concurrency=3, max_model_len=8192, max_num_seqs=32),
        ],
        [h100()],
    )
    sizes = {planned.request.name: planned.max_concurrency for planned in plan.instances}
    assert sizes["three"] / sizes["one"] == pytest.approx(3, rel=0.02)


def test_an_embedding_model_gets_little_more_than_its_weights() -> None:
    plan = place([request(BGE_M3, "embed")], [h100()])
    planned = plan.instances[0]
    assert planned.kv_bytes == 0
    assert planned.used_bytes < planned.budget.weights.size_bytes + 2 * GIB
    assert planned.utilization < 0.03


def test_a_given_kv_cache_is_kept_to_the_byte() -> None:
    plan = place([request(LLAMA_8B, kv_cache_bytes=20 * GIB, max_model_len=16384)], [h100()])
    planned = plan.instances[0]
    assert planned.kv_bytes == 20 * GIB
    assert planned.kv_tokens == 20 * GIB // 131072
    assert planned.max_concurrency == 10.0


def test_a_given_kv_cache_that_is_too_small_is_a_warning_with_the_length_that_fits() -> None:
    plan = place([request(LLAMA_8B, kv_cache_bytes=GIB, max_model_len=16384)], [h100()])
    assert any("vLLM will refuse to start; 8176 tokens would fit" in w for w in plan.instances[0].warnings)


def test_memory_that_others_hold_is_left_alone() -> None:
    free = place([request(LLAMA_8B, max_model_len=8192)], [h100()]).instances[0]
    shared = place([request(LLAMA_8B, max_model_len=8192)], [h100(used_gib=30)])
    assert free.kv_bytes - shared.instances[0].kv_bytes == pytest.approx(30 * GIB, rel=0.001)
    assert "30.0 GiB in use by others" in shared.warnings[0]


def test_as_few_gpus_as_possible_are_used_per_model() -> None:
    gpus = [card(79.19, i, "H100") for i in range(4)]
    assert place([request(LLAMA_8B)], gpus).instances[0].tensor_parallel == 1
    assert place([request(QWEN_32B, concurrency=4)], gpus).instances[0].tensor_parallel == 2


def test_one_instance_is_never_divided_over_different_kinds_of_gpus() -> None:
    devices = [h100(0), card(79.19, 1, "A100")]
    with pytest.raises(NoFitError):
        place([request(QWEN_32B, concurrency=4, max_model_len=32768)], devices)


def test_pinned_instances_stay_on_their_gpus() -> None:
    plan = place([request(llama_config(), gpus=(1,))], [h100(0), h100(1)])
    assert plan.instances[0].gpus == (1,)


def test_higher_priority_starts_first_then_the_largest() -> None:
    plan = place(
        [
            request(llama_config(), "small"),
            request(LLAMA_8B, "large", concurrency=1, max_model_len=4096),
            request(llama_config(), "urgent", priority=1),
        ],
        [h100()],
    )
    assert plan.instances[0].request.name == "urgent"
    assert [p.start_order for p in plan.instances] == [0, 1, 2]


def test_a_cpu_device_is_planned_out_of_ram_without_graphs() -> None:
    ram = Device(0, "cpu", 16 * GIB, DeviceKind.CPU)
    plan = place([request(llama_config(), "a"), request(llama_config(), "b")], [ram])
    assert verify(plan).holds
    assert all(planned.budget.graphs.size_bytes == 0 for planned in plan.instances)
    assert all(planned.budget.geometry.block_tokens == 128 for planned in plan.instances)


def test_measured_numbers_replace_fitted_ones_and_say_so() -> None:
    def measured(_request: InstanceRequest, _shape: Shape, _device: Device) -> Measured:
        return Measured(weights_bytes=15 * GIB, activation_bytes=GIB // 4, graph_bytes=0, inside_bytes=0)

    planned = place([request(LLAMA_8B)], [h100()], measured).instances[0]
    assert planned.budget.weights.size_bytes == 15 * GIB
    assert planned.origins["weights"] is Origin.MEASURED
    assert planned.origins["activation"] is Origin.MEASURED
    assert planned.origins["context"] is Origin.FITTED


def test_speculative_decoding_is_flagged() -> None:
    planned = place([request(LLAMA_8B, args=("--speculative-config={}",))], [h100()]).instances[0]
    assert any("speculative decoding is not modelled" in warning for warning in planned.warnings)


def test_a_decoder_used_for_embeddings_gets_one_request_and_no_spare() -> None:
    planned = place([request("Qwen/Qwen3-0.6B", task=Task.POOL, max_model_len=8192)], [h100()]).instances[0]
    assert 1.0 <= planned.max_concurrency < 1.1
    assert planned.budget.graphs.size_bytes == 0


@pytest.mark.parametrize("flag", ["--max-model-len", "--tensor-parallel-size=2", "-q", "--enforce-eager"])
def test_an_argument_that_the_plan_computes_with_is_flagged(flag: str) -> None:
    planned = place([request(LLAMA_8B, args=(flag, "x"))], [h100()]).instances[0]
    name = flag.partition("=")[0]
    assert any(w.startswith(f"{name} among its args overrides") for w in planned.warnings)


def test_an_old_vllm_that_charges_its_neighbours_is_said() -> None:
    old = [request(llama_config(), name, version=Version(0, 9, 0)) for name in ("a", "b")]
    assert place(old[:1], [h100()]).warnings == ()
    (warning,) = place(old, [h100()]).warnings
    assert "a, b may not start" in warning


def test_the_cache_of_an_unknown_family_is_not_called_exact() -> None:
    known, unknown = (
        place([request(llama_config(**more))], [h100()]).instances[0]
        for more in ({}, {"model_type": "novel", "architectures": ["NovelForCausalLM"]})
    )
    assert (known.origins["kv_cache"], unknown.origins["kv_cache"]) == (Origin.EXACT, Origin.CONFIG)


def test_what_they_need_together_is_counted_as_cheaply_as_it_can_be_had() -> None:
    alone = place([request("Qwen/Qwen3-0.6B", "a", max_model_len=8192)], [card(23.5)]).instances[0]
    least = alone.budget.fixed_bytes + alone.budget.least_kv_bytes
    others = [request(LLAMA_8B, name, max_model_len=4096) for name in ("b", "c", "d")]
    with pytest.raises(NoFitError, match=rf"together they need .*a {least / GIB:.1f} GiB, b "):
        place([request("Qwen/Qwen3-0.6B", "a", max_model_len=8192), *others], [card(23.5, n) for n in (0, 1)])


def test_a_method_known_by_its_files_alone_still_says_how_the_cache_is_stored() -> None:
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8"}
    config = llama_config(quantization_config=mixed)
    tensors = (TensorInfo("model.embed_tokens.weight", "BF16", (32000, 512)),)
    files = replace(request(config), checkpoint=Checkpoint(tensors))
    stored, plain = (place([item], [h100()]).instances[0] for item in (files, request(llama_config())))
    assert stored.budget.geometry.bytes_per_block * 2 == plain.budget.geometry.bytes_per_block
