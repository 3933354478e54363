"""What one layer keeps in the KV cache: bytes per block and how many blocks a request holds.

Source: vLLM `v1/kv_cache_interface.py` (the spec classes) and `layers/mamba/mamba_utils.py`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.launch.memory.inventory import kv_heads_per_rank
from gateway.launch.memory.model import Attention, LatentAttention, Mixer, Model, Reach, Recurrent, State
from gateway.launch.memory.quantization import Quantization
from gateway.launch.memory.terms import UnmodelledError, ceil_div

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "auto": 2}
_KV_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1, "bfloat16": 2, "float16": 2, "float32": 4}
_DS_MLA_TOKEN_BYTES = 656
"""512 fp8 values, 16 bytes of scales, 64 bf16 rotary values (`fp8_ds_mla`)."""
_INDEXER_GROUP = 128


class CacheKind(StrEnum):
    """How a layer's blocks grow with a request."""

    FULL = "full"
    LATENT = "latent"
    """Full-length, but pages cannot be padded (vLLM unify_kv_cache_spec_page_size)."""
    SLIDING = "sliding"
    CHUNKED = "chunked"
    STATE = "state"
    CROSS = "cross"


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The cache of one layer on one rank."""

    kind: CacheKind
    block_tokens: int
    page_bytes: int
    """Bytes of one block of this layer."""
    window: int = 0
    recurrence: str = ""
    """Of a state: the kind of its layer."""

    @property
    def covers_all_tokens(self) -> bool:
        """Whether the layer keeps every token of a request."""
        return self.kind in {CacheKind.FULL, CacheKind.LATENT}


@dataclass(frozen=True, slots=True)
class CacheFormat:
    """How keys and values are stored."""

    tp: int
    kv_dtype: str
    """As given to --kv-cache-dtype, `auto` resolved by `resolve_kv_dtype`."""
    block_tokens: int
    """Tokens of a block, before recurrent layers enlarge it."""
    model_dtype: str
    plain_latents: bool = False
    """Whether latents in fp8 are stored without scales where attention is sparse: FlashInfer on Blackwell."""
    wide_states: bool = False
    """Whether recurrent states are float32 whatever the model's dtype, as vLLM's CPU kernels want them."""

    @property
    def element_bytes(self) -> int:
        """Bytes of one key or value element.

        Raises:
            UnmodelledError: a packed format with scales.
        """
        if self.kv_dtype == "auto":
            return DTYPE_BYTES.get(self.model_dtype, 2)
        if self.kv_dtype == "fp8_ds_mla":
            return 1
        size = _KV_BYTES.get(self.kv_dtype)
        if size is None:
            raise UnmodelledError(
                f"KV cache dtype {self.kv_dtype} is not modelled: its pages are packed with scales; "
                "use auto, fp8, bfloat16 or float16"
            )
        return size


def resolve_kv_dtype(asked: str, quantization: Quantization | None) -> str:
    """What `--kv-cache-dtype` becomes: `auto` follows the checkpoint's own wish, if it has one."""
    if asked != "auto" or quantization is None:
        return asked
    return quantization.kv_cache_dtype


def token_bytes(mixer: Attention | LatentAttention, fmt: CacheFormat) -> int:
    """Bytes per token that one attention layer caches on one rank."""
    if isinstance(mixer, LatentAttention) and mixer.expanded:
        width = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim  # values are padded to it
        return 2 * ceil_div(mixer.heads, fmt.tp) * width * fmt.element_bytes
    if isinstance(mixer, LatentAttention):
        packed = mixer.indexer is not None and fmt.element_bytes == 1 and not fmt.plain_latents
        if packed or fmt.kv_dtype == "fp8_ds_mla":
            return _DS_MLA_TOKEN_BYTES
        return (mixer.kv_lora_rank + mixer.qk_rope_head_dim) * fmt.element_bytes
    heads = kv_heads_per_rank(mixer.kv_heads, fmt.tp)
    return heads * (mixer.head_dim + mixer.v_head_dim) * fmt.element_bytes


def indexer_token_bytes(mixer: LatentAttention) -> int:
    """Bytes per token of the sparse-attention indexer's fp8 key cache with its fp32 scales."""
    if mixer.indexer is None or not mixer.indexer_cached:
        return 0
    dim = mixer.indexer.head_dim
    return dim + ceil_div(dim, _INDEXER_GROUP) * 4


def state_bytes(mixer: Recurrent, fmt: CacheFormat) -> int:
    """Bytes of one request's state in one recurrent layer on one rank."""
    conv = DTYPE_BYTES.get(fmt.model_dtype, 2)
    recurrent = DTYPE_BYTES.get(mixer.state_dtype, 2) if mixer.state_dtype != "auto" else conv
    if fmt.wide_states:
        recurrent = DTYPE_BYTES["float32"]
    total = sum(_elements(state, fmt.tp) * (recurrent if state.recurrent else conv) for state in mixer.states)
    if mixer.groups:
        # Groups that do not divide are repeated, so that every rank has those of its heads.
        groups = mixer.groups if mixer.groups % fmt.tp == 0 else fmt.tp
        total += 2 * groups // fmt.tp * mixer.group_state * conv
    return total


def hybrid_block_tokens(model: Model, fmt: CacheFormat, latent_step: int) -> int:
    """Tokens of a block whose attention page holds one state (`Platform._align_hybrid_block_size`).

    Args:
        model: what the model holds.
        fmt: how keys and values are stored.
        latent_step: multiple to which blocks are enlarged where attention is latent.
    """
    states = [state_bytes(mixer, fmt) for mixer in model.mixers if isinstance(mixer, Recurrent)]
    attention = [m for m in model.mixers if not isinstance(m, Recurrent)]
    if not states or not attention:
        return fmt.block_tokens
    latent = any(isinstance(mixer, LatentAttention) for mixer in attention)
    step = max(fmt.block_tokens, latent_step) if latent else fmt.block_tokens
    per_token = max(token_bytes(mixer, fmt) for mixer in attention)
    return max(fmt.block_tokens, step * ceil_div(max(states), step * per_token))


def layer_caches(mixer: Mixer, fmt: CacheFormat) -> tuple[LayerCache, ...]:
    """The caches of one layer; none for encoders and for layers that read another layer's cache."""
    if isinstance(mixer, Recurrent):
        size = state_bytes(mixer, fmt)
        return (LayerCache(CacheKind.STATE, fmt.block_tokens, size, recurrence=mixer.kind),)
    page = token_bytes(mixer, fmt) * fmt.block_tokens
    if isinstance(mixer, LatentAttention) and mixer.expanded:
        return (LayerCache(CacheKind.FULL, fmt.block_tokens, page),)
    if isinstance(mixer, LatentAttention):
        latent = LayerCache(CacheKind.LATENT, fmt.block_tokens, page)
        indexer = indexer_token_bytes(mixer) * fmt.block_tokens
        return (latent, LayerCache(CacheKind.LATENT, fmt.block_tokens, indexer)) if indexer else (latent,)
    if mixer.reach is Reach.ENCODER or mixer.cache_shared:
        return ()
    return (LayerCache(_KINDS[mixer.reach], fmt.block_tokens, page, mixer.window),)


def promote(cache: LayerCache) -> LayerCache:
    """A window treated as full attention, where the hybrid cache manager is off."""
    if cache.kind in {CacheKind.SLIDING, CacheKind.CHUNKED}:
        return replace(cache, kind=CacheKind.FULL, window=0)
    return cache


_KINDS = {
    Reach.FULL: CacheKind.FULL,
    Reach.SLIDING: CacheKind.SLIDING,
    Reach.CHUNKED: CacheKind.CHUNKED,
    Reach.CROSS: CacheKind.CROSS,
}


def _elements(state: State, tp: int) -> int:
    return ceil_div(state.sharded, tp) * state.rest
