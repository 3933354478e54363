"""A launch plan as the admin API shows it."""

from gateway.control.memory_plan import devices_of
from gateway.launch.memory.terms import GIB
from gateway.launch.placement.placing import place
from tests.unit.launch.builders import BGE_M3, LLAMA_8B, h100, request


def test_each_gpu_shows_what_its_servers_take_and_what_others_had() -> None:
    plan = place([request(LLAMA_8B, "llama"), request(BGE_M3, "bge")], [h100(0, used_gib=2.0), h100(1)])
    labels = [planned.request.label for planned in plan.instances]
    devices = devices_of(plan, {labels[0]: "http://127.0.0.1:8100"})
    assert [(d.index, d.name, d.others_bytes) for d in devices] == [(0, "H100", 2 * GIB), (1, "H100", 0)]
    for device, use in zip(devices, plan.gpus, strict=True):
        taken = sum(s.weights_bytes + s.kv_cache_bytes + s.other_bytes for s in device.servers)
        assert device.others_bytes + taken == use.used_bytes
        assert device.total_bytes == use.device.total_bytes
        assert all(min(s.weights_bytes, s.other_bytes) > 0 for s in device.servers)
    shown = {server.model: server for device in devices for server in device.servers}
    assert set(shown) == set(labels)
    assert shown[labels[0]].replica == "http://127.0.0.1:8100"
    assert shown[labels[1]].replica == ""
    llama = next(planned for planned in plan.instances if planned.request.label.startswith("llama"))
    assert shown[llama.request.label].kv_tokens == llama.kv_tokens > 0
