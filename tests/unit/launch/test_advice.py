"""Every suggestion, applied to the configuration, makes the plan fit."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.launch.memory.device import Device
from gateway.launch.memory.terms import GIB
from gateway.launch.placement.advice import place_or_advise
from gateway.launch.placement.demand import no_measurements
from gateway.launch.placement.placing import place
from gateway.launch.plan import NoFitError, Suggestion, verify
from gateway.launch.request import InstanceRequest
from tests.unit.launch.builders import BGE_M3, LLAMA_8B, card, h100, request

_NUMBERS = {
    "max_model_len": "max_model_len",
    "concurrency": "concurrency",
    "max_num_seqs": "max_num_seqs",
    "tensor_parallel": "tensor_parallel",
}
_MODELS: dict[str, dict[str, Any] | str] = {
    "chat": LLAMA_8B,
    "small": "Qwen/Qwen3-0.6B",
    "hybrid": "Qwen/Qwen3.5-9B",
    "embed": BGE_M3,
}


def _applied(
    suggestion: Suggestion, requests: Sequence[InstanceRequest], devices: Sequence[Device]
) -> tuple[list[InstanceRequest], list[Device]]:
    """What a person would do who follows it."""
    change, mine = suggestion.change, suggestion.model
    if match := re.match(r"stop what else uses the GPUs", change):
        return list(requests), [replace(device, used_bytes=0) for device in devices]
    if match := re.match(r"about (\d+) GiB more on each GPU", change):
        more = int(match[1]) * GIB
        return list(requests), [replace(d, total_bytes=d.total_bytes + more) for d in devices]
    if match := re.match(r"move (\S+) elsewhere", change):
        return [r for r in requests if r.label != match[1]], list(devices)
    if change.startswith("enforce_eager: true"):
        options: dict[str, object] = {"enforce_eager": True}
    elif change.startswith("kv_cache_dtype: fp8"):
        options = {"kv_cache_dtype": "fp8"}
    elif match := re.match(r"kv_cache: ([\d.]+)GiB", change):
        options = {"kv_cache_bytes": int(float(match[1]) * GIB)}
    else:
        match = re.match(r"(\w+): (\d+) \(instead of", change)
        assert match, change
        options = {_NUMBERS[match[1]]: int(match[2])}
    return [replace(r, **options) if r.name == mine else r for r in requests], list(devices)  # type: ignore[arg-type]


@st.composite
def _fleets(draw: st.DrawFn) -> tuple[list[InstanceRequest], list[Device]]:
    names = draw(st.lists(st.sampled_from(sorted(_MODELS)), min_size=1, max_size=3, unique=True))
    requests = []
    for name in names:
        options = draw(
            st.sampled_from(
                [
                    {"concurrency": 8, "max_model_len": 32768},
                    {"kv_cache_bytes": 12 * GIB, "max_model_len": 8192},
                    {"concurrency": 2, "max_model_len": 16384, "max_num_seqs": 512},
                    {"tensor_parallel": 1, "concurrency": 4, "max_model_len": 40960},
                ]
            )
        )
        # Its 8192 tokens are all that the embedding model can do.
        requests.append(request(_MODELS[name], name, **({} if name == "embed" else options)))
    sizes = draw(st.lists(st.sampled_from([12, 16, 24, 40]), min_size=1, max_size=3))
    used = draw(st.lists(st.sampled_from([0, 0, 3, 10]), min_size=len(sizes), max_size=len(sizes)))
    devices = [
        replace(card(size, index), used_bytes=taken * GIB)
        for index, (size, taken) in enumerate(zip(sizes, used, strict=True))
    ]
    return requests, devices


@settings(max_examples=60, deadline=None)
@given(_fleets())
def test_whoever_follows_a_suggestion_gets_a_plan(fleet: tuple[list[InstanceRequest], list[Device]]) -> None:
    requests, devices = fleet
    refusal = _refusal(requests, devices)
    assert refusal is None or refusal.suggestions
    for suggestion in refusal.suggestions if refusal is not None else ():
        assert verify(place(*_applied(suggestion, requests, devices))).holds, suggestion


def _refusal(requests: Sequence[InstanceRequest], devices: Sequence[Device]) -> NoFitError | None:
    try:
        place_or_advise(requests, devices, no_measurements)
    except NoFitError as error:
        return error
    return None


def test_memory_that_others_hold_is_named_where_it_is_what_is_missing() -> None:
    with pytest.raises(NoFitError, match=r"has 17\.6 GiB to give, since others use 60\.0 GiB") as caught:
        place_or_advise(
            [request(LLAMA_8B, concurrency=4, max_model_len=8192)], [h100(used_gib=60)], no_measurements
        )
    assert "stop what else uses the GPUs: others hold 60.0 GiB" in {
        item.change for item in caught.value.suggestions
    }
