"""Real vLLM servers on the CPU, for tests that must see what vLLM itself does."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

from tests.real.guarded import GuardedProcess

ROOT = Path(__file__).parents[2]
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"
MODELS = ROOT / ".cache" / "tiny-models"
LOGS = ROOT / ".cache" / "real-logs"

MIB = 2**20
# On a CPU, vLLM 0.32 says "no adapter" with index -1, and that reads the last slot (lora/ops/torch_ops): a
# base request in one batch with an adapter request comes out right only while the last slot is empty. So one
# slot stays empty, and one is for an adapter loaded later.
SPARE_ADAPTER_SLOTS = 2
ENGINE_TITLE = "VLLM::EngineCore"

ENVIRONMENT = {
    # one thread each and no pinning: several servers and the tests share the same few cores
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # nothing is fetched and nothing is reported
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_TARGET_DEVICE": "cpu",
    # the first request for logprobs compiles for some ten seconds; the next run need not
    "TORCHINDUCTOR_CACHE_DIR": str(ROOT / ".cache" / "torchinductor"),
}


@dataclass(frozen=True)
class ServerOptions:
    """What differs between the servers of a test."""

    model: str
    """Folder below MODELS."""
    name: str
    """Served model name."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Name of each LoRA adapter and its folder below MODELS. With one, more may be loaded at run time."""
    api_key: str | None = None
    is_embedding: bool = False
    max_model_len: int | None = 2048
    max_num_seqs: int = 24
    kv_cache_bytes: int = 64 * MIB
    """For 64 K tokens of tiny-llama; tiny-slow takes 64 times as much a token."""
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, port: int) -> list[str]:
        command = [str(VLLM), "serve", str(MODELS / self.model), "--served-model-name", self.name]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        # "auto" would turn float32 weights into bfloat16, and greedy answers into others
        command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", str(self.max_num_seqs)]
        command += ["--kv-cache-memory-bytes", str(self.kv_cache_bytes)]
        if self.max_model_len is not None:
            command += ["--max-model-len", str(self.max_model_len)]
        if self.is_embedding:
            command += ["--runner", "pooling"]
        if self.api_key is not None:
            command += ["--api-key", self.api_key]
        if self.adapters:
            slots = str(len(self.adapters) + SPARE_ADAPTER_SLOTS)
            command += ["--enable-lora", "--max-loras", slots, "--max-lora-rank", "8", "--lora-modules"]
            command += [f"{name}={MODELS / folder}" for name, folder in self.adapters.items()]
        return [*command, *self.arguments]

    def environment(self) -> dict[str, str]:
        runtime_loading = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if self.adapters else {}
        return {**ENVIRONMENT, **runtime_loading, **self.env}


class VllmServer(GuardedProcess):
    """One `vllm serve`: an API server, an engine and a worker process, ready some 26 s after its start."""

    def __init__(self, label: str, options: ServerOptions, port: int) -> None:
        super().__init__(options.command(port), options.environment(), port, LOGS / f"{label}.log")
        self.options = options

    def engine_pid(self) -> int:
        """The process id of the engine, which is a child of the API server."""
        for pid in self.members():
            if (Path("/proc") / str(pid) / "cmdline").read_bytes().startswith(ENGINE_TITLE.encode()):
                return pid
        raise LookupError(f"{self} has no engine process")

    def kill_engine(self) -> None:
        os.kill(self.engine_pid(), signal.SIGKILL)

    def kill_api_server(self) -> None:
        """The engine outlives it; the guard does not let it."""
        os.kill(self.pid, signal.SIGKILL)

    def ask_to_end(self) -> None:
        """By default, vLLM stops listening and leaves its running requests without another word."""
        os.kill(self.pid, signal.SIGTERM)

    def hang_engine(self) -> None:
        """Everything that the API server answers by itself is answered still, `/health` too."""
        os.kill(self.engine_pid(), signal.SIGSTOP)

    def wake_engine(self) -> None:
        os.kill(self.engine_pid(), signal.SIGCONT)

    def restart(self) -> None:
        """Ends what is left of it and starts it again on the same port; returns when it is ready."""
        self.stop()
        self.start()
        self.wait_ready()

    def post(self, path: str, body: Mapping[str, str] | None = None) -> None:
        """Calls one of vLLM's own operator routes.

        Raises:
            HTTPError: the answer is not 2xx.
        """
        headers = {"content-type": "application/json"}
        request = Request(self.url + path, json.dumps(body or {}).encode(), headers)
        with urlopen(request, timeout=30):
            pass

    def running_requests(self) -> int:
        return int(self.metric("vllm:num_requests_running"))

    def generated_tokens(self) -> int:
        return int(self.metric("vllm:generation_tokens_total"))

    def finished_requests(self) -> int:
        return int(self.metric("vllm:request_success_total"))
