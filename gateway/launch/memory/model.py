"""A typed view of a transformer: what each layer holds, as far as memory is concerned.

Owns the vocabulary (attention kinds, recurrent state, experts, towers) that the weight and the KV-cache
arithmetic share. Built by `reading.read_model` from a Hugging Face config.json; it never looks at one itself.
All sizes are of the whole model; splitting over tensor-parallel ranks happens where bytes are counted.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Reach(StrEnum):
    """Which earlier tokens an attention layer keeps in the KV cache."""

    FULL = "full"
    SLIDING = "sliding"
    """The last `window` tokens."""
    CHUNKED = "chunked"
    """The current chunk of `window` tokens (Llama 4)."""
    ENCODER = "encoder"
    """Bidirectional, nothing is cached."""
    CROSS = "cross"
    """The encoder's output, cached once per request."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Multi-head, grouped-query or multi-query attention."""

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    reach: Reach = Reach.FULL
    window: int = 0
    gated_query: bool = False
    """The query projection also makes an output gate of the same width (Qwen3-Next)."""
    qkv_bias: bool = False
    out_bias: bool = False
    keys_are_values: bool = False
    """One projection serves as key and value; both are still cached (Gemma 4 global layers)."""
    cache_shared: bool = False
    """Reads an earlier layer's KV cache and has none of its own (Gemma 3n, Gemma 4 small)."""
    extra_inner: int = 0
    """Further output rows of the query projection per model, such as per-head gates (Step 3.5)."""


@dataclass(frozen=True, slots=True)
class Indexer:
    """DeepSeek sparse attention's lightning indexer, with a key cache of its own."""

    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek V2/V3): one compressed vector per token, on every rank."""

    heads: int
    q_lora_rank: int
    """0: the query is projected directly."""
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    indexer: Indexer | None = None
    indexer_cached: bool = True
    """False where a layer reuses the previous layer's choice of tokens."""
    expanded: bool = False
    """The cache holds ordinary heads, made from the compressed vector (MiniCPM 3)."""


@dataclass(frozen=True, slots=True)
class State:
    """One tensor of a recurrent layer's per-request state."""

    sharded: int
    """The extent that tensor parallelism divides (channels or heads)."""
    rest: int
    """Elements per unit of that extent."""
    recurrent: bool
    """True: the recurrent state, with its own dtype. False: the convolution window, in the model's."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A weight matrix of a recurrent layer."""

    name: str
    out_features: int
    in_features: int
    shard: str
    """`column` (outputs are divided), `row` (inputs are divided) or `none`."""
    linear: bool = True
    """False: never quantised (convolutions, decay parameters)."""


@dataclass(frozen=True, slots=True)
class Recurrent:
    """A layer with a fixed-size state instead of a KV cache (Mamba, Gated DeltaNet, short convolution …)."""

    kind: str
    prefix: str
    """Name of the module inside a layer, as quantisation ignore lists spell it."""
    projections: tuple[Projection, ...]
    states: tuple[State, ...]
    state_dtype: str
    """dtype of the recurrent state: `auto` (the model's), `float32`, `float16` or `bfloat16`."""
    groups: int = 0
    """Mamba 2 groups: repeated when they do not divide by the tensor-parallel size."""
    group_state: int = 0
    """Elements of the convolution window per group, for B and for C."""
    group_rows: int = 0
    """Output rows of `in_proj` and `conv1d` per group, B and C together."""


Mixer = Attention | LatentAttention | Recurrent


@dataclass(frozen=True, slots=True)
class Mlp:
    """A dense feed-forward block."""

    intermediate: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture-of-experts block."""

    count: int
    active: int
    intermediate: int
    gated: bool = True
    shared_intermediate: int = 0
    """Width of all shared experts together; 0: none."""
    latent: int = 0
    """Experts work on vectors of this width instead of the hidden size (Nemotron 3 Super); 0: no."""
    bias: bool = False
    dense_intermediate: int = 0
    """Width of a dense MLP that runs beside the experts (Arctic, Gemma 4); 0: none."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder (or encoder) layer."""

    mixers: tuple[Mixer, ...]
    ffn: Mlp | Experts | None
    extra_params: int = 0
    """Parameters of small modules that are loaded whole on every rank."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision or audio encoder with its projector, loaded in the model's dtype."""

    name: str
    params: int
    sharded: bool
    """Whether tensor parallelism divides it."""
    replicated: int = 0
    """Parameters that every rank holds although the rest is divided: patches, positions, some projectors."""
    tokens_per_item: int = 0
    """Embeddings that the largest item of this modality makes; 0 if unknown."""
    hidden: int = 0
    intermediate: int = 0
    merge: int = 1
    """Encoder tokens per embedding."""
    heads: int = 0
    """Attention heads that must divide by the ranks; 0: unknown, or padded until they do."""


@dataclass(frozen=True, slots=True)
class Rope:
    """One rotary-embedding table; vLLM keeps cos and sin for every position of the model."""

    rotary_dim: int
    positions: int


class Task(StrEnum):
    """What the server does with the model."""

    GENERATE = "generate"
    POOL = "pool"
    """Embedding, classification, reranking: no sampler, and without causal attention no KV cache."""
    TRANSCRIBE = "transcribe"
    """Encoder-decoder speech recognition (Whisper)."""


@dataclass(frozen=True, slots=True)
class Model:
    """Everything about a model that its memory depends on."""

    architecture: str
    model_type: str
    task: Task
    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    dtype: str
    max_positions: int
    """Tokens a request may have by config.json (vLLM's default for --max-model-len)."""
    tied_embeddings: bool
    most_positions: int = 0
    """Tokens up to which --max-model-len may be raised; 0: max_positions."""
    has_lm_head: bool = True
    embedding_rows: int = 0
    """Rows of learned position and token-type embeddings."""
    embedding_dim: int = 0
    """Width of the token embedding where it differs (ALBERT, OPT-350m); 0: the hidden size."""
    extra_params: int = 0
    """Unquantised parameters outside the layers, replicated on every rank."""
    extra_sharded_params: int = 0
    """Unquantised parameters outside the layers, divided by tensor parallelism."""
    ropes: tuple[Rope, ...] = ()
    towers: tuple[Tower, ...] = ()
    cross_tokens: int = 0
    """Encoder tokens that a cross-attention layer caches per request."""
    final_logits_fp32: bool = False
    kv_heads_replicable: bool = True
    notes: tuple[str, ...] = field(default=())
    """Plain sentences about what is not modelled exactly."""

    @property
    def attention_heads(self) -> int:
        """Query heads of the widest attention layer, or 0 for a model without attention."""
        return max((m.heads for m in self.mixers if not isinstance(m, Recurrent)), default=0)

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """Every layer's mixers, in order."""
        return tuple(mixer for layer in self.layers for mixer in layer.mixers)

    @property
    def is_hybrid(self) -> bool:
        """Whether attention and recurrent layers are mixed."""
        return any(isinstance(m, Recurrent) for m in self.mixers) and not self.is_attention_free

    @property
    def is_attention_free(self) -> bool:
        """Whether no layer has attention."""
        return bool(self.mixers) and all(isinstance(m, Recurrent) for m in self.mixers)

    @property
    def is_multimodal(self) -> bool:
        """Whether an encoder for images, video or audio is loaded."""
        return bool(self.towers)
