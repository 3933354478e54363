"""What vLLM's start-up log says about memory, version by version.

Pure: lines in, numbers out. Source of the wordings: vLLM 0.8 to 0.33, `v1/worker/gpu_worker.py`,
`v1/worker/gpu_model_runner.py`, `v1/worker/cpu_worker.py` and `v1/core/kv_cache_utils.py`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.launch.memory.terms import GIB
from gateway.launch.memory.versions import Version, parse_version

_NUMBER = r"(-?[\d,]+(?:\.\d+)?)"
_GIB = rf"{_NUMBER} ?Gi?B"
_GRAPHS_IN_PEAK = Version(0, 27)
"""From here the printed activation peak contains the graph estimate (#57936)."""


@dataclass(frozen=True, slots=True)
class BootLog:
    """Numbers of one start; None where the log did not say."""

    version: str | None = None
    weights_bytes: int | None = None
    available_kv_bytes: int | None = None
    activation_bytes: int | None = None
    non_torch_bytes: int | None = None
    """Memory outside PyTorch within the budget."""
    graph_bytes: int | None = None
    block_tokens: int | None = None
    """Only logged where recurrent layers enlarge the block."""
    kv_tokens: int | None = None
    max_concurrency: float | None = None
    max_model_len: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing about memory was found."""
        return self == BootLog(version=self.version)


_WORDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"LLM engine \(v(\d+\.\d+[\w.+]*)\)", ("version",)),
    (r"(?:API server version|\bversion) v?(\d+\.\d+[\w.+]*)", ("version",)),
    (rf"[Mm]odel loading took {_GIB}", ("weights",)),
    (rf"Loading model weights took {_GIB}", ("weights",)),
    (rf"Available KV cache memory: {_GIB}", ("available",)),
    (rf"Explicitly set \({_NUMBER}/{_NUMBER}\) GiB for KV cache", ("available", "node_total")),
    (rf"torch peak memory increase: {_GIB}", ("activation",)),
    (rf"non-torch forward increase memory: {_GIB}", ("non_torch",)),
    (rf"total consumed \(from mem_get_info\): {_GIB}", ("consumed",)),
    (rf"weights memory: {_GIB}", ("weights",)),
    (rf"model weights take {_GIB}", ("weights",)),
    (rf"non_torch_memory takes {_GIB}", ("non_torch",)),
    (rf"PyTorch activation peak memory takes {_GIB}", ("activation",)),
    (rf"{_GIB} for weights?, ", ("weights",)),
    (rf"{_GIB} for consumed memory \(weights", ("consumed",)),
    (rf"{_GIB} for peak activation", ("peak",)),
    (rf"{_GIB} for non-torch memory", ("non_torch",)),
    (rf"{_GIB} for CUDAGraph memory", ("graphs",)),
    (rf"Graph capturing finished in [\d.]+ secs?, took {_GIB}", ("graphs",)),
    (rf"CUDA graph pool memory: {_GIB} \(actual\), {_GIB} \(estimated\)", ("graphs", "graph_estimate")),
    (r"Setting attention block size to (\d+) tokens", ("block_tokens",)),
    (rf"KV cache size: {_NUMBER} tokens", ("kv_tokens",)),
    (rf"Maximum concurrency for {_NUMBER} tokens per request: {_NUMBER}x", ("length", "concurrency")),
)
_PATTERNS = tuple((re.compile(pattern), names) for pattern, names in _WORDINGS)


def parse_boot_log(lines: Iterable[str]) -> BootLog:
    """The numbers of a start. Of several ranks, and of several lines that say the same, the first counts."""
    found: dict[str, str] = {}
    for line in lines:
        for pattern, names in _PATTERNS:
            if match := pattern.search(line):
                for name, text in zip(names, match.groups(), strict=True):
                    found.setdefault(name, text)
    weights, consumed = _bytes(found, "weights"), _bytes(found, "consumed")
    non_torch = _bytes(found, "non_torch")
    if non_torch is None and consumed is not None and weights is not None:
        non_torch = max(0, consumed - weights)
    return BootLog(
        version=found.get("version"),
        weights_bytes=weights,
        available_kv_bytes=_bytes(found, "available"),
        activation_bytes=_activation(found),
        non_torch_bytes=non_torch,
        graph_bytes=_bytes(found, "graphs"),
        block_tokens=_whole(found, "block_tokens"),
        kv_tokens=_whole(found, "kv_tokens"),
        max_concurrency=_number(found, "concurrency"),
        max_model_len=_whole(found, "length"),
    )


def _activation(found: Mapping[str, str]) -> int | None:
    direct = _bytes(found, "activation")
    if direct is not None:
        return direct
    peak = _bytes(found, "peak")
    version = parse_version(found.get("version", ""))
    if peak is None or version is None or version < _GRAPHS_IN_PEAK:
        return peak
    return max(0, peak - max(0, _bytes(found, "graph_estimate") or 0))


def _number(found: Mapping[str, str], name: str) -> float | None:
    text = found.get(name)
    return None if text is None else float(text.replace(",", ""))


def _bytes(found: Mapping[str, str], name: str) -> int | None:
    number = _number(found, name)
    return None if number is None else int(number * GIB)


def _whole(found: Mapping[str, str], name: str) -> int | None:
    number = _number(found, name)
    return None if number is None else int(number)
