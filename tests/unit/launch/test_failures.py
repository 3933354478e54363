"""vLLM's failure texts and the sentence each becomes."""

import re

import pytest

from gateway.launch.failures import FailureKind, recognise

GATE = (
    "ValueError: Free memory on device cuda:0 (14.2/79.19 GiB) on startup is less than desired GPU memory "
    "utilization (0.92, 72.85 GiB). Decrease GPU memory utilization or reduce GPU memory used by others."
)
TOO_LITTLE = (
    "ValueError: To serve at least one request with the model's max seq len (32768), (8.0 GiB KV cache is "
    "needed, which is larger than the available KV cache memory (4.45 GiB). Based on the available memory, "
    "the estimated maximum model length is 18224. Try increasing `gpu_memory_utilization`"
)


PROFILING = "AssertionError: Error in memory profiling. Initial free memory 20.1 GiB, current free memory 25."
SAMPLER = "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests"
TOO_LONG = (
    "User-specified max_model_len (9000) is greater than the derived max_model_len "
    "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json)."
)
HOST = (
    "Available memory on node 0 (1.5/11.96 GiB) on kv cache allocation is less than requested memory for kv "
    "(4.0 GiB)."
)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            GATE,
            FailureKind.OCCUPIED,
            "only 14.2 of 79.19 GiB were free at the start and 72.85 GiB were asked for",
        ),
        (TOO_LITTLE, FailureKind.MEMORY, "set max_model_len to 18224 or less"),
        ("ValueError: No available memory for the cache blocks.", FailureKind.MEMORY, "left nothing"),
        (
            PROFILING,
            FailureKind.BUSY,
            "start it again",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 40.00 MiB. GPU 0 has",
            FailureKind.MEMORY,
            r"\(40.00 MiB more were needed\)",
        ),
        (
            SAMPLER,
            FailureKind.MEMORY,
            "lower max_num_seqs",
        ),
        (
            TOO_LONG,
            FailureKind.SETTINGS,
            "the model can do 4096 tokens",
        ),
        (
            "Total number of attention heads (28) must be divisible by tensor parallel size (8).",
            FailureKind.SETTINGS,
            "28 attention heads cannot be divided over 8 GPUs",
        ),
        (
            "ValueError: LoRA rank 64 is greater than max_lora_rank 16.",
            FailureKind.SETTINGS,
            "raise max_lora_rank",
        ),
        ("OSError: [Errno 98] Address already in use", FailureKind.BUSY, "port"),
        ("vllm: error: unrecognized arguments: --foo 3", FailureKind.SETTINGS, "does not know --foo 3"),
        (
            "vllm serve: error: argument --dtype: invalid choice: 'foo' (choose from 'auto')",
            FailureKind.SETTINGS,
            "does not accept its --dtype: invalid choice: 'foo'",
        ),
        ("RuntimeError: No CUDA GPUs are available", FailureKind.SETTINGS, "finds no GPU here"),
        (
            "ValueError: Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
            FailureKind.SETTINGS,
            "add --trust-remote-code",
        ),
        ("RuntimeError: Cannot find any model weights with `/m`", FailureKind.SETTINGS, "has no weights"),
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: incomplete",
            FailureKind.SETTINGS,
            "download them again",
        ),
        (
            "has model type `x` but Transformers does not recognize this architecture. This",
            FailureKind.SETTINGS,
            "a newer one may",
        ),
        (
            HOST,
            FailureKind.OCCUPIED,
            "the KV cache needs 4.0 GiB",
        ),
    ],
)
def test_a_known_failure_becomes_one_sentence_of_advice(text: str, kind: FailureKind, words: str) -> None:
    failure = recognise(["INFO starting", *text.splitlines(), "Traceback (most recent call last):"])
    assert failure is not None
    assert failure.kind is kind
    assert re.search(words, failure.advice)
    assert "\n" not in failure.advice


def test_an_unknown_failure_is_none() -> None:
    assert recognise(["KeyError: 'x'"]) is None


def test_the_cause_is_reported_rather_than_its_consequence() -> None:
    failure = recognise(["torch.OutOfMemoryError: CUDA out of memory.", GATE])
    assert failure is not None
    assert failure.advice.startswith("only 14.2")
