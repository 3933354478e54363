"""The KV cache of a whole model: groups, bytes per block, tokens, and how many requests fit.

Source: vLLM `v1/core/kv_cache_utils.py` (get_kv_cache_groups, unify_kv_cache_spec_page_size,
_get_kv_cache_groups_uniform_page_size, get_max_concurrency_for_kv_cache_config).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.launch.memory.attention import (
    CacheFormat,
    CacheKind,
    LayerCache,
    hybrid_block_tokens,
    layer_caches,
    promote,
)
from gateway.launch.memory.model import Model
from gateway.launch.memory.parallel import stages
from gateway.launch.memory.terms import UnmodelledError, ceil_div
from gateway.launch.memory.versions import Version


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """What decides the cache besides the model."""

    fmt: CacheFormat
    pp: int
    max_model_len: int
    max_num_batched_tokens: int
    version: Version
    prefix_caching: bool | None = None
    """None: vLLM's default for the version."""
    hybrid_manager: bool = True
    """False where windows are not freed: with chunked attention in older versions, or by flag."""
    capability: int | None = None
    """CUDA compute capability x 10 of the GPU, None if unknown; 0 on the CPU."""
    schedules_ahead: bool = True
    """Whether two batches are in flight, in versions that can do that; not on the CPU."""


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers that share a block table."""

    cache: LayerCache
    layers: int


@dataclass(frozen=True, slots=True)
class CacheGeometry:
    """Everything needed to turn bytes into tokens and requests."""

    groups: tuple[CacheGroup, ...]
    bytes_per_block: int
    """Bytes of one block of the pool on the fullest pipeline stage."""
    block_tokens: int
    request: CacheRequest
    cross_tokens: int
    padding_layers: int

    @property
    def is_empty(self) -> bool:
        """Whether the model needs no KV cache (encoders)."""
        return not self.groups

    def blocks_per_request(self, tokens: int) -> int:
        """Blocks that a request of `tokens` tokens may hold at once."""
        return sum(self._group_blocks(group.cache, tokens) for group in self.groups)

    def blocks(self, available_bytes: int) -> int:
        """Blocks in the pool."""
        return max(0, available_bytes) // self.bytes_per_block if self.bytes_per_block else 0

    def concurrency(self, available_bytes: int) -> float:
        """Requests of full length that fit at once; 0 for a model without a cache."""
        need = self.blocks_per_request(self.request.max_model_len)
        return self.blocks(available_bytes) / need if need else 0.0

    def tokens(self, available_bytes: int) -> int:
        """What vLLM's log calls `GPU KV cache size`."""
        if self.is_empty:
            return 0
        if self.request.version.counts_tokens_by_concurrency:
            return int(self.concurrency(available_bytes) * self.request.max_model_len)
        return self.blocks(available_bytes) // len(self.groups) * self.block_tokens

    def bytes_for(self, requests: float, tokens: int | None = None) -> int:
        """Bytes for `requests` requests of `tokens` tokens (default: full length) and the null block."""
        if self.is_empty:
            return 0
        need = self.blocks_per_request(self.request.max_model_len if tokens is None else tokens)
        return (ceil_div(int(requests * need * 1000), 1000) + 1) * self.bytes_per_block

    def longest_request(self, available_bytes: int) -> int:
        """The largest max_model_len of which one request fits."""
        low, high = 0, self.request.max_model_len
        while low < high:
            middle = (low + high + 1) // 2
            if self.blocks_per_request(middle) + 1 <= self.blocks(available_bytes):
                low = middle
            else:
                high = middle - 1
        return low

    def _group_blocks(self, cache: LayerCache, tokens: int) -> int:
        if cache.kind is CacheKind.STATE:
            return self._states(cache.recurrence) if self._aligns_states else 1
        if cache.kind is CacheKind.CROSS:
            # Room for as many encoder tokens as may be computed at once (CrossAttentionSpec).
            whole_batch = self.request.version.caches_encoder_batch
            at_once = self.request.max_num_batched_tokens if whole_batch else 0
            return ceil_div(max(self.cross_tokens, at_once), cache.block_tokens)
        if cache.kind is CacheKind.SLIDING:
            held = min(cache.window - 1 + self._in_flight, tokens)
            return ceil_div(held, cache.block_tokens) + 1
        if cache.kind is CacheKind.CHUNKED:
            return ceil_div(min(cache.window + self._in_flight, tokens), cache.block_tokens)
        return ceil_div(tokens, cache.block_tokens)

    def _states(self, recurrence: str) -> int:
        """States of a request at once while prefixes are cached: its last two, and one left by a prefill."""
        return 3 if self.request.version.checkpoints_prefill(recurrence, self.request.capability) else 2

    @property
    def _in_flight(self) -> int:
        ahead = self.request.schedules_ahead and self.request.version.schedules_ahead
        batches = self.request.pp + 1 if ahead else self.request.pp
        return batches * self.request.max_num_batched_tokens

    @property
    def _aligns_states(self) -> bool:
        if all(group.cache.kind is CacheKind.STATE for group in self.groups):
            return False  # Models without attention have no prefix caching.
        asked = self.request.prefix_caching
        return self.request.version.caches_recurrent_prefixes if asked is None else asked


def cache_geometry(model: Model, request: CacheRequest) -> CacheGeometry:
    """The cache of a model.

    Raises:
        UnmodelledError: page sizes that vLLM cannot unify either, or an unknown KV dtype.
    """
    block = hybrid_block_tokens(model, request.fmt, request.version.latent_block_step)
    fmt = replace(request.fmt, block_tokens=block)
    placed = [
        (index, cache)
        for index, layer in enumerate(model.layers)
        for mixer in layer.mixers
        for cache in layer_caches(mixer, fmt)
    ]
    if not placed:
        return CacheGeometry((), 0, block, request, model.cross_tokens, 0)
    if not request.hybrid_manager and any(cache.covers_all_tokens for _, cache in placed):
        placed = [(index, promote(cache)) for index, cache in placed]
    stage_bounds = stages(len(model.layers), request.pp)
    if _is_uniform([cache for _, cache in placed]):
        per_stage = [
            sum(cache.page_bytes for index, cache in placed if a <= index < b) for a, b in stage_bounds
        ]
        group = CacheGroup(placed[0][1], len(placed))
        return CacheGeometry((group,), max(per_stage), block, request, model.cross_tokens, 0)
    return _grouped(_unified(placed), block, request, model.cross_tokens, stage_bounds)


def _is_uniform(caches: Sequence[LayerCache]) -> bool:
    """Whether all layers always hold the same tokens (UniformTypeKVCacheSpecs)."""
    first = caches[0]
    if all(cache.covers_all_tokens for cache in caches):
        return True
    return all((cache.kind, cache.window) == (first.kind, first.window) for cache in caches)


def _unified(placed: Sequence[tuple[int, LayerCache]]) -> list[tuple[int, LayerCache]]:
    """All pages as large as the largest: by more tokens per block, or by padding."""
    largest = max(cache.page_bytes for _, cache in placed)
    unified = []
    for index, cache in placed:
        if cache.page_bytes == largest or cache.kind is CacheKind.STATE:
            grown = replace(cache, page_bytes=largest)
        elif largest % cache.page_bytes == 0:
            ratio = largest // cache.page_bytes
            grown = replace(cache, page_bytes=largest, block_tokens=cache.block_tokens * ratio)
        elif cache.kind is not CacheKind.LATENT:
            grown = replace(cache, page_bytes=largest)
        else:
            raise UnmodelledError("the cache pages of its layers cannot be brought to one size")
        unified.append((index, grown))
    return unified


def _grouped(
    placed: Sequence[tuple[int, LayerCache]],
    block: int,
    request: CacheRequest,
    cross_tokens: int,
    stage_bounds: Sequence[tuple[int, int]],
) -> CacheGeometry:
    buckets: dict[LayerCache, list[int]] = {}
    for index, cache in placed:
        buckets.setdefault(cache, []).append(index)
    smallest, largest = min(map(len, buckets.values())), max(map(len, buckets.values()))
    size = largest if largest < smallest * request.version.pad_ratio else smallest
    groups, widest, padding = [], 0, 0
    for cache, layers in buckets.items():
        count = ceil_div(len(layers), size)
        padding += count * size - len(layers)
        for position in range(count):
            members = layers[position::count]
            groups.append(CacheGroup(cache, len(members)))
            widest = max(widest, *(sum(a <= layer < b for layer in members) for a, b in stage_bounds))
    page = next(iter(buckets)).page_bytes
    width = widest if request.pp > 1 else size
    return CacheGeometry(tuple(groups), width * page, block, request, cross_tokens, padding)
