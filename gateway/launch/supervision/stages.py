"""What a starting server is doing, from its log. Pure.

Source of the wordings: vLLM 0.10 to 0.33 (`v1/engine/core.py`, `v1/worker/gpu_model_runner.py`,
`model_executor/model_loader/`) and the progress bars of tqdm.
"""

import re

FIRST = "starting Python"

_STAGES: tuple[tuple[str, str], ...] = (
    (r"non-default args|vLLM API server version|API server version", "reading the model's configuration"),
    (r"Initializing a V\d LLM engine|Waiting for \d+ .*engine", "starting the engine"),
    (r"Loading safetensors checkpoint shards:\s+(\d+)% ", "loading weights"),
    (r"Loading pt checkpoint shards:\s+(\d+)% ", "loading weights"),
    (r"Starting to load model|Loading weights on", "loading weights"),
    (r"[Mm]odel loading took", "measuring memory"),
    (r"Start compiling function|torch\.compile takes|Dynamo bytecode|Compiling a graph", "compiling"),
    (r"Available KV cache memory|KV cache size:", "preparing the KV cache"),
    (r"Capturing CUDA graph.*?:\s+(\d+)%", "capturing CUDA graphs"),
    (r"Capturing CUDA graphs", "capturing CUDA graphs"),
    (r"Loaded new LoRA adapter", "loading adapters"),
    (r"Started server process|Starting vLLM API server|Starting vLLM server", "opening its port"),
)
_PATTERNS = tuple((re.compile(pattern), doing) for pattern, doing in _STAGES)


def stage_of(line: str) -> str | None:
    """What the line says the server is doing, such as `loading weights (50 %)`; None if nothing."""
    for pattern, doing in _PATTERNS:
        if match := pattern.search(line):
            return f"{doing} ({match[1]} %)" if pattern.groups else doing
    return None
