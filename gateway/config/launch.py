"""What can be said about servers that `up` starts and the GPUs `plan` places them on. Data only."""

from typing import Literal

from pydantic import Field

from gateway.config.units import PositiveDuration, PositiveSize, Tokens
from gateway.config.values import (
    AutoOrCount,
    Count,
    Entries,
    EnvName,
    Items,
    Name,
    NotNegative,
    Port,
    Section,
    Switch,
    Text,
    Whole,
    Word,
)


class Gpu(Section):
    """One device to place models on."""

    name: Text = "GPU"
    """What to call it in plans, e.g. H100."""
    memory: PositiveSize
    """Its whole memory, in bytes, as CUDA counts it: 79.19GiB for an H100 80GB, a little less than
    nvidia-smi's total. For a cpu: the share of the RAM that servers may use."""
    kind: Literal["cuda", "cpu"] = "cuda"
    """cuda: a GPU. cpu: main memory, for vLLM's CPU build."""


class Launch(Section):
    """How to start this model's servers: what `plan` computes from and `up` starts."""

    model: Text
    """A local folder, or an id found in the local Hugging Face cache."""
    replicas: Count = 1
    """Servers to start for this model."""
    task: Literal["auto", "generate", "embed"] = "auto"
    """What the model is for; auto: told from its configuration."""
    tensor_parallel: AutoOrCount = "auto"
    """GPUs each layer is split over, or auto: the fewest that fit."""
    pipeline_parallel: Count = 1
    """GPUs the layers are divided among."""
    max_model_len: Tokens | None = None
    """Longest context, in tokens (32768, 32k = 32000, 32K = 32768). Nothing: the model's own."""
    concurrency: Count | None = None
    """Requests of full length that must fit into the KV cache at once. Not together with kv_cache."""
    kv_cache: PositiveSize | None = None
    """Exact size of the KV cache per GPU, in bytes. Not together with concurrency."""
    max_num_seqs: Count | None = None
    """Most requests in one batch. Nothing: four for each of `concurrency`, 32 to 256; 256 without it."""
    max_num_batched_tokens: Count | None = None
    """Most tokens in one step. Nothing: vLLM's default."""
    kv_cache_dtype: Text = "auto"
    """Number type of the KV cache: auto, fp8, …"""
    dtype: Text = "auto"
    """Number type of weights and activations: auto, bfloat16, float16, …"""
    quantization: Text | None = None
    """Quantisation method. Nothing: as the model's own configuration says."""
    enforce_eager: Switch = False
    """Run without CUDA graphs: less memory, slower."""
    adapters: Entries[Name, Text] = Field(default_factory=dict)
    """LoRA adapters: name to folder or id."""
    max_loras: Count | None = None
    """Different adapters in one batch. Nothing: all that are listed here, 4 at most."""
    max_lora_rank: Count | None = None
    """Largest rank of an adapter. Nothing: as the adapters need."""
    args: Items[Word] = ()
    """Further arguments for `vllm serve`, passed on as they are."""
    env: Entries[EnvName, Word] = Field(default_factory=dict)
    """Environment variables for the server."""
    gpus: Items[NotNegative] | None = None
    """Pin to these GPUs, counted from 0. Nothing: the planner chooses."""
    port: Port | None = None
    """Port of the first server; further replicas take the following ones. Nothing: free ports."""
    priority: Whole = 0
    """Who is placed and started first when memory is short: higher before lower."""
    start_timeout: PositiveDuration = 1800.0
    """How long a start may take until the server answers, in seconds."""
