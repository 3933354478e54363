"""How much memory a failed start lacked."""

import pytest

from gateway.launch.memory.terms import GIB, MIB
from gateway.launch.shortage import missing_bytes

OOM = "CUDA out of memory. Tried to allocate {} MiB. GPU 0 has a total of 8 GiB of which {} MiB is free"
GATE = (
    "Free memory on device cuda:0 (14.0/79.19 GiB) on startup is less than desired GPU memory utilization "
    "(0.92, 72.5 GiB). Decrease"
)
ONE_REQUEST = (
    "max seq len (32768), (8.0 GiB KV cache is needed, which is larger than the available KV cache memory "
    "(4.5 GiB). Based"
)
HOST_CACHE = (
    "Available memory on node 0 (1.5/11.96 GiB) on kv cache allocation is less than requested memory for kv "
    "(4.0 GiB)."
)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (OOM.format("512.00", "12.00"), 500 * MIB),
        (OOM.format("2.00", "12.00"), 0),
        (GATE, int(58.5 * GIB)),
        (ONE_REQUEST, int(3.5 * GIB)),
        (HOST_CACHE, int(2.5 * GIB)),
        ("ValueError: No available memory for the cache blocks.", None),
        ("KeyError: 'x'", None),
    ],
)
def test_the_words_of_a_failure_say_how_much_was_missing(text: str, missing: int | None) -> None:
    assert missing_bytes(["INFO starting", *text.splitlines()]) == missing
