"""vLLM's words when a start fails, and one sentence on what to change.

Pure. Source of the wordings: vLLM `v1/worker/utils.py`, `v1/core/kv_cache_utils.py`,
`v1/worker/gpu_worker.py` and `config/model.py`, and PyTorch's allocator.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """What went wrong, as far as it decides what to do next."""

    MEMORY = "memory"
    """Planning again with the measured numbers may help."""
    OCCUPIED = "occupied"
    """Others hold more of the device than was planned for: planning again may help, this time."""
    BUSY = "busy"
    """Another process changed the device's memory meanwhile: starting again may help."""
    SETTINGS = "settings"
    """It will fail again until the configuration is changed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A recognised failure."""

    kind: FailureKind
    advice: str
    """One sentence: what happened and what to change."""


_Say = Callable[[re.Match[str]], str]

_GATE = (
    r"Free memory on device.*?\(([\d.]+)/([\d.]+) GiB\) on startup is less than desired GPU memory "
    r"utilization \(([\d.]+), ([\d.]+) GiB\)"
)
_ONE_REQUEST = (
    r"To serve at least one request with the model's max seq len \((\d+)\), \(?([\d.]+) GiB KV cache is "
    r"needed, which is larger than the available KV cache memory \(([\d.]+) GiB\)"
    r"(?:.{0,200}?estimated maximum model length is (\d+))?"
)
_HOST_CACHE = (
    r"Available memory on node \d+ \(([\d.]+)/([\d.]+) GiB\) on kv cache allocation is less than "
    r"requested memory for kv \(([\d.]+)"
)
_TOO_LONG = r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \(\w+=([\d.]+)"
_OUT_OF_MEMORY = r"(?:CUDA out of memory|OutOfMemoryError).{0,80}?Tried to allocate ([\d.]+ \w+)"
_ANY_OUT_OF_MEMORY = r"CUDA out of memory|OutOfMemoryError|warming up sampler with \d+ dummy requests"


def _gate(m: re.Match[str]) -> str:
    return (
        f"only {m[1]} of {m[2]} GiB were free at the start and {m[4]} GiB were asked for: stop what else "
        "uses the GPU, or give this model less KV cache"
    )


def _one_request(m: re.Match[str]) -> str:
    length = f"set max_model_len to {m[4]} or less" if m[4] else "set a shorter max_model_len"
    return (
        f"one request of {m[1]} tokens needs {m[2]} GiB of KV cache and {m[3]} GiB were left: {length}, "
        "use kv_cache_dtype: fp8, or more GPUs"
    )


def _out_of_memory(m: re.Match[str]) -> str:
    missing = f" ({m[1]} more were needed)" if m.re.groups else ""
    return (
        f"the GPU ran out of memory while starting{missing}: lower max_num_seqs, set enforce_eager: true, "
        "or give it less KV cache"
    )


def _always(sentence: str) -> _Say:
    return lambda _match: sentence


_NOTHING_LEFT = _always(
    "the weights and the profile run left nothing for the KV cache: lower max_num_seqs, use a quantised "
    "model, or more GPUs"
)
_DISTURBED = _always(
    "another process released GPU memory while this one measured its own: start it again while nothing else "
    "starts or stops on that GPU"
)
_WORDINGS: tuple[tuple[str, FailureKind, _Say], ...] = (
    (_GATE, FailureKind.OCCUPIED, _gate),
    (_ONE_REQUEST, FailureKind.MEMORY, _one_request),
    (r"No available memory for the cache blocks", FailureKind.MEMORY, _NOTHING_LEFT),
    (
        r"Error in memory profiling|Initial free memory [\d.]+ GiB, current free memory",
        FailureKind.BUSY,
        _DISTURBED,
    ),
    (_OUT_OF_MEMORY, FailureKind.MEMORY, _out_of_memory),
    (_ANY_OUT_OF_MEMORY, FailureKind.MEMORY, _out_of_memory),
    (
        _HOST_CACHE,
        FailureKind.OCCUPIED,
        lambda m: (
            f"only {m[1]} of {m[2]} GiB of RAM were free and the KV cache needs {m[3]} GiB: give it less"
        ),
    ),
    (
        _TOO_LONG,
        FailureKind.SETTINGS,
        lambda m: f"max_model_len is {m[1]}, but the model can do {float(m[2]):.0f} tokens: set that or less",
    ),
    (
        r"Total number of attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        FailureKind.SETTINGS,
        lambda m: (
            f"{m[1]} attention heads cannot be divided over {m[2]} GPUs: choose another tensor_parallel"
        ),
    ),
    (
        r"LoRA rank (\d+) is greater than max_lora_rank (\d+)",
        FailureKind.SETTINGS,
        lambda m: f"an adapter has rank {m[1]}, but max_lora_rank is {m[2]}: raise max_lora_rank",
    ),
    (
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",
        FailureKind.SETTINGS,
        _always("this GPU cannot compute in bfloat16: set dtype: float16"),
    ),
    (
        r"[Aa]ddress already in use|error while attempting to bind on address",
        FailureKind.BUSY,
        _always("its port is in use by another process: choose another port, or none"),
    ),
    (
        r"vllm(?: serve)?: error: unrecognized arguments: ([^\n]+)",
        FailureKind.SETTINGS,
        lambda m: f"this version of vLLM does not know {m[1].strip()}: correct `args`",
    ),
    (
        r"vllm(?: serve)?: error: argument ([^:\n]+): ([^\n]+)",
        FailureKind.SETTINGS,
        lambda m: f"vLLM does not accept its {m[1]}: {m[2].strip()}",
    ),
    (
        r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver",
        FailureKind.SETTINGS,
        _always("vLLM finds no GPU here: check `gpus`, CUDA_VISIBLE_DEVICES and the driver"),
    ),
    (
        r"`trust_remote_code=True`",
        FailureKind.SETTINGS,
        _always("the model brings code of its own: if you trust it, add --trust-remote-code to `args`"),
    ),
    (
        r"Cannot find any model weights",
        FailureKind.SETTINGS,
        _always("the model's folder has no weights: download them first"),
    ),
    (
        r"[Ee]rror while deserializing header|SafetensorError",
        FailureKind.SETTINGS,
        _always("the model's weights are incomplete or damaged: download them again"),
    ),
    (
        r"Transformers does not recognize this architecture",
        FailureKind.SETTINGS,
        _always("this vLLM's transformers does not know the model: a newer one may"),
    ),
    (
        r"Model architectures \[?'?(\w+).{0,80}?are not supported",
        FailureKind.SETTINGS,
        lambda m: f"this version of vLLM cannot run {m[1]}: a newer one may",
    ),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), kind, say) for pattern, kind, say in _WORDINGS)


def recognise(lines: Iterable[str]) -> Failure | None:
    """The first known failure in a log, in the order of the table (causes before their consequences)."""
    text = "\n".join(lines)
    for pattern, kind, say in _PATTERNS:
        if match := pattern.search(text):
            return Failure(kind, say(match))
    return None
