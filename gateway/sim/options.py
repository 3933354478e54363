"""Everything that can be chosen about a simulated replica before it starts."""

from dataclasses import dataclass, field

from gateway.sim.engine import EngineLimits
from gateway.sim.faults import NO_FAULTS, Faults


@dataclass(frozen=True, slots=True)
class SimOptions:
    """A simulated replica. Names follow ``vllm serve``."""

    model: str
    """The model's root; what it says depends on it and the adapter only."""
    served_names: tuple[str, ...] = ()
    """Names it answers to; `model` alone if empty."""
    adapters: tuple[tuple[str, str], ...] = ()
    """Adapters loaded at start, as (name, root)."""
    pooling: bool = False
    """An embedding model: pooling routes instead of generating ones."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    api_key: str | None = None
    max_model_len: int = 131_072
    tokens_default: int = 32
    """Length of a chat answer that the request does not limit; then it stops by itself."""
    emoji: bool = False
    """Speak with characters of several bytes, some cut in two by the tokenizer."""
    request_id_headers: bool = False
    """``--enable-request-id-headers``."""
    max_num_queued_reqs: int = 0
    """Refuse with 503 above so many requests in flight; 0: no limit."""
    keep_alive_s: float = 5.0
    """Idle time after a response until the connection is closed (uvicorn under vLLM: 5 s)."""
    engine: EngineLimits = field(default_factory=EngineLimits)
    faults: Faults = NO_FAULTS

    @property
    def names(self) -> tuple[str, ...]:
        return self.served_names or (self.model,)
