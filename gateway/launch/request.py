"""What a plan is asked for: one instance of a model, with everything known about its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.launch.memory.model import Model, Task
from gateway.launch.memory.reading.keys import Json
from gateway.launch.memory.tensors import UNKNOWN_CHECKPOINT, Checkpoint
from gateway.launch.memory.versions import CURRENT, Version


@dataclass(frozen=True, slots=True)
class InstanceRequest:
    """One vLLM server to place."""

    name: str
    """The model's name in the configuration, which the server also serves."""
    source: str
    """Folder or id that follows `vllm serve`."""
    model: Model
    config: Json
    """The parsed config.json; quantisation depends on the GPU and is read later."""
    checkpoint: Checkpoint = UNKNOWN_CHECKPOINT
    replica: int = 0
    """0-based number among the model's replicas."""
    tensor_parallel: int | None = None
    """None: as few GPUs as will do."""
    pipeline_parallel: int = 1
    max_model_len: int | None = None
    concurrency: float | None = None
    """Requests of max_model_len tokens that the KV cache must hold."""
    kv_cache_bytes: int | None = None
    """KV cache per GPU, instead of a concurrency."""
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    quantization: str | None = None
    enforce_eager: bool = False
    adapters: Mapping[str, str] = field(default_factory=dict)
    """LoRA adapters to load at start: name to path."""
    max_loras: int | None = None
    max_lora_rank: int | None = None
    task: Task | None = None
    gpus: tuple[int, ...] | None = None
    """Only these devices; None: any."""
    priority: int = 0
    """Higher starts earlier."""
    port: int | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    version: Version = CURRENT
    served_name: str | None = None

    @property
    def label(self) -> str:
        """The instance's name in reports and log files: numbered from the second replica on."""
        return self.name if self.replica == 0 else f"{self.name}#{self.replica + 1}"

    @property
    def effective_task(self) -> Task:
        """What the server does: as asked, or what the architecture is made for."""
        return self.task or self.model.task
