"""A smaller place for a server that ran out of memory."""

from dataclasses import replace

import pytest

from gateway.launch.bootlog import BootLog
from gateway.launch.calibration import Calibration
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.terms import GIB
from gateway.launch.placement.demand import no_measurements
from gateway.launch.placement.placing import place
from gateway.launch.plan import NoFitError, Plan, PlannedInstance, verify
from gateway.launch.replanning import change_in_words, replanned, with_instance
from tests.unit.launch.builders import LLAMA_8B, h100, llama_config, request


def _plan(**options: object) -> Plan:
    return place([request(LLAMA_8B, "a", **options), request(LLAMA_8B, "b")], [h100(0)])


def _one(plan: Plan, name: str) -> PlannedInstance:
    return next(planned for planned in plan.instances if planned.request.name == name)


def test_what_was_missing_is_taken_from_its_cache_and_nobody_else_changes() -> None:
    plan = _plan()
    failed = _one(plan, "a")
    found = replanned(plan, failed, no_measurements, 3 * GIB)
    block = failed.budget.geometry.bytes_per_block
    # Up to a block of each instance was left over by rounding.
    assert 3 * GIB - 2 * block <= failed.kv_bytes - found.kv_bytes <= 3 * GIB + 2 * block
    assert (found.gpus, found.start_order, found.request) == (
        failed.gpus,
        failed.start_order,
        failed.request,
    )
    after = with_instance(plan, found)
    assert _one(after, "b") == _one(plan, "b")
    assert after.gpus[0].used_bytes == plan.gpus[0].used_bytes - failed.used_bytes + found.used_bytes
    assert verify(after).holds


def test_the_failed_starts_own_numbers_count() -> None:
    plan = _plan()
    failed = _one(plan, "a")
    heavier = failed.budget.weights.size_bytes + 2 * GIB
    measured = Calibration().learned(failed, h100(0), BootLog(weights_bytes=heavier))
    found = replanned(plan, failed, measured, 0)
    assert found.budget.weights.size_bytes == heavier
    assert failed.kv_bytes - found.kv_bytes >= 2 * GIB - 2 * failed.budget.geometry.bytes_per_block


def test_where_nobody_knows_what_was_missing_it_becomes_smaller_all_the_same() -> None:
    plan = _plan()
    failed = _one(plan, "a")
    found = replanned(plan, failed, no_measurements, None)
    assert found.kv_bytes < failed.kv_bytes - GIB


def test_a_cache_of_a_given_size_is_not_made_smaller_behind_the_operators_back() -> None:
    plan = place([request(LLAMA_8B, "a", kv_cache_bytes=50 * GIB)], [h100(0)])
    with pytest.raises(NoFitError, match="a needs"):
        replanned(plan, plan.instances[0], no_measurements, 20 * GIB)


def test_when_nothing_can_change_that_is_said() -> None:
    plan = place([request(LLAMA_8B, "a", kv_cache_bytes=5 * GIB)], [h100(0)])
    with pytest.raises(NoFitError, match="changes nothing"):
        replanned(plan, plan.instances[0], no_measurements, GIB)


def test_it_stays_on_its_devices() -> None:
    plan = place([request(LLAMA_8B, name) for name in "ab"], [h100(0), h100(1)])
    for planned in plan.instances:
        assert replanned(plan, planned, no_measurements, GIB).gpus == planned.gpus


def test_the_change_is_said_in_numbers() -> None:
    planned = place([request(llama_config())], [Device(0, "cpu", 8 * GIB, DeviceKind.CPU)]).instances[0]
    assert change_in_words(replace(planned, kv_bytes=2 * GIB), replace(planned, kv_bytes=GIB)) == (
        "KV cache 2.00 GiB -> 1.00 GiB"
    )
    assert (
        change_in_words(replace(planned, utilization=0.5), replace(planned, utilization=0.25))
        == "gpu_memory_utilization 0.5000 -> 0.2500"
    )
