"""What a replica's own `/metrics` says about its engine.

Read often, so read cheaply: of vLLM's 57 KB only the few lines that matter are parsed. Names changed over the
versions; all that are known are accepted (vLLM's `v1/metrics/loggers.py`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from gateway.fleet.hang import Counters

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")  # the second until 0.11
_STEPS = "vllm:iteration_tokens_total_count"
_GENERATED = "vllm:generation_tokens_total"
_PROMPTED = "vllm:prompt_tokens_total"

_WANTED = tuple(
    name + end for name in (_RUNNING, _WAITING, *_KV_USAGE, _STEPS, _GENERATED, _PROMPTED) for end in "{ "
)
# The one line with dozens of labels, of which two matter: parsing it whole takes longer than all others.
_CACHE = "vllm:cache_config_info{"
_BLOCK_TOKENS = re.compile('[{,]block_size="([0-9]+)"')
_BLOCKS = re.compile('[{,]num_gpu_blocks="([0-9]+)"')


@dataclass(frozen=True, slots=True)
class EngineStats:
    """One reading. A replica with several engines (data parallel) shows one row each: these are the sums.

    `kv_usage` is the mean over the engines, 0 to 1. `kv_tokens` is how many tokens the KV cache holds.
    """

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    kv_tokens: int | None = None
    counters: Counters = ()


def parse(text: str) -> EngineStats | None:
    """The engine's numbers, or None when the text has none of them.

    Raises:
        ValueError: a line that matters is not in the exposition format.
    """
    sums: dict[str, float] = {}
    kv_usages: list[float] = []
    lines = text.split("\n")
    for name, value in _samples(lines):
        if name in _KV_USAGE:
            kv_usages.append(value)
        else:
            sums[name] = sums.get(name, 0.0) + value
    if not sums:
        return None
    return EngineStats(
        running=int(sums.get(_RUNNING, 0)),
        waiting=int(sums.get(_WAITING, 0)),
        kv_usage=sum(kv_usages) / len(kv_usages) if kv_usages else 0.0,
        kv_tokens=sum(_cache_tokens(line) for line in lines if line.startswith(_CACHE)) or None,
        counters=tuple(sums.get(name, 0.0) for name in (_STEPS, _GENERATED, _PROMPTED)),
    )


def _samples(lines: Iterable[str]) -> Iterator[tuple[str, float]]:
    wanted = "\n".join(line for line in lines if line.startswith(_WANTED))
    for family in text_string_to_metric_families(wanted + "\n"):
        for sample in family.samples:
            yield sample.name, sample.value


def _cache_tokens(line: str) -> int:
    block_tokens, blocks = _BLOCK_TOKENS.search(line), _BLOCKS.search(line)
    if block_tokens is None or blocks is None:  # "None" while the cache is not sized yet
        return 0
    return int(block_tokens[1]) * int(blocks[1])
