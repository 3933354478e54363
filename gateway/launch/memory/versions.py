"""What changed in vLLM from version to version, as far as memory is concerned.

Source: the source distributions of 0.8.5 to 0.33.0.
"""

import re
from dataclasses import dataclass

_FLASHINFER_DELTA_NET = 90
"""Compute capability x 10 from which FlashInfer runs Gated DeltaNet's prefill: Hopper and Blackwell."""
_NUMBER = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A vLLM release; pre-releases count as the release they lead to."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        """The usual dotted form."""
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def counts_tokens_by_concurrency(self) -> bool:
        """`GPU KV cache size` is concurrency x max_model_len; before, blocks // groups x block size."""
        return self >= Version(0, 20, 2)

    @property
    def pad_ratio(self) -> float:
        """Up to this ratio of layer counts, hybrid groups are padded to the larger kind, not cut."""
        return 1.5 if self >= Version(0, 19) else 1.25

    @property
    def graphs_in_budget(self) -> bool:
        """Whether the estimated CUDA graph memory is taken off the KV cache; before, graphs came on top."""
        return self >= Version(0, 20, 2)

    @property
    def default_utilization(self) -> float:
        """Default of --gpu-memory-utilization."""
        return 0.92 if self >= Version(0, 20, 2) else 0.90

    @property
    def has_kv_cache_memory_flag(self) -> bool:
        """Whether --kv-cache-memory-bytes exists."""
        return self >= Version(0, 10, 2)

    @property
    def has_bitsandbytes(self) -> bool:
        """Whether bitsandbytes checkpoints can be loaded."""
        return self < Version(0, 29)

    @property
    def charges_neighbours(self) -> bool:
        """Whether other processes' memory is taken off this instance's KV cache (#14376, fixed by #18974)."""
        return self < Version(0, 9, 1)

    @property
    def profiles_whole_context(self) -> bool:
        """The first engine (V0) profiled a whole request of full length at once."""
        return self < Version(0, 8)

    @property
    def schedules_ahead(self) -> bool:
        """Whether asynchronous scheduling keeps two batches in flight by default."""
        return self >= Version(0, 14)

    @property
    def caches_recurrent_prefixes(self) -> bool:
        """Whether recurrent layers keep two states per request, for prefix caching, by default."""
        return self >= Version(0, 17)

    @property
    def frees_chunks(self) -> bool:
        """Whether the cache of chunked attention is freed behind the chunk (in 0.14, not in 0.11)."""
        return self >= Version(0, 14)

    @property
    def caches_encoder_batch(self) -> bool:
        """Whether cross-attention has room for a whole batch of encoder tokens (in 0.14, not in 0.11)."""
        return self >= Version(0, 12)

    @property
    def quantises_glm_cache(self) -> bool:
        """Whether GLM 5 caches in fp8 by default on Blackwell servers (in 0.32, not in 0.31)."""
        return self >= Version(0, 32)

    def checkpoints_prefill(self, recurrence: str, capability: int | None) -> bool:
        """Whether a prefill leaves a state of its own for prefix caching (num_prefill_checkpoint_blocks).

        Args:
            recurrence: kind of the layer; Gated DeltaNet does it where FlashInfer computes it.
            capability: CUDA compute capability x 10; None if unknown, which counts as a recent card.
        """
        if recurrence == "mamba2":
            return self >= Version(0, 32)
        flashinfer = capability is None or capability >= _FLASHINFER_DELTA_NET
        return recurrence == "gated_delta_net" and flashinfer and self >= Version(0, 33)

    @property
    def latent_block_step(self) -> int:
        """Multiple of tokens to which blocks of latent-attention hybrids are enlarged."""
        return 128 if self >= Version(0, 20) else 64

    @property
    def lean_sampler(self) -> bool:
        """Whether the second model runner's sampler, which needs far less memory, is the default."""
        return self >= Version(0, 27)


CURRENT = Version(0, 33)
"""The version that is assumed where nothing else is known."""


def parse_version(text: str) -> Version | None:
    """The version in a string such as `0.17.1rc1.dev126` or `v0.28.0+cu129`; None if there is none."""
    match = _NUMBER.search(text)
    if match is None:
        return None
    return Version(int(match[1]), int(match[2]), int(match[3] or 0))
