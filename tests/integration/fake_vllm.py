"""Stands in for the `vllm` command: prints what vLLM prints, answers as the simulation, fails on request.

    python fake_vllm.py serve MODEL --served-model-name NAME --port PORT ...

Environment:
    FAKE_VLLM_DIR    folder of `journal`, one line for each thing that happens: NAME what ...
    FAKE_VLLM        what each attempt does, separated by commas, the last for all further ones: `ok`, `die`,
                     `late`, `silent` or a key of FAILURES
An engine runs as a child, as with vLLM, and a second one that has left the session, as Ray would.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica

FAILURES = {
    "oom": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total "
        "capacity of 8.00 GiB of which 12.00 MiB is free. Including non-PyTorch memory, 7 GiB"
    ),
    "gate": (
        "ValueError: Free memory on device cuda:0 (6.70/8.00 GiB) on startup is less than desired GPU memory "
        "utilization (0.9, 7.20 GiB). Decrease GPU memory utilization or reduce GPU memory used by others."
    ),
    "nothing": "ValueError: No available memory for the cache blocks. Try increasing",
    "short": (
        "ValueError: To serve at least one request with the model's max seq len (4096), (2.0 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (1.50 GiB). Based on the available "
        "memory, the estimated maximum model length is 3000."
    ),
    "profile": (
        "AssertionError: Error in memory profiling. Initial free memory 5.0 GiB, current free memory 6.0 GiB."
    ),
    "settings": "vllm: error: unrecognized arguments: --no-such-flag",
    "unknown": "RuntimeError: the moon is full",
}
ENGINE = "import sys, time; time.sleep(1e6)"
CHUNK_S = 0.02


def value(flag: str) -> str:
    """What follows a flag of our command line."""
    return sys.argv[sys.argv.index(flag) + 1]


def values(flag: str) -> list[str]:
    """All words between a flag and the next one."""
    if flag not in sys.argv:
        return []
    words = sys.argv[sys.argv.index(flag) + 1 :]
    end = next((n for n, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:end]


NAME = value("--served-model-name")
FOLDER = Path(os.environ["FAKE_VLLM_DIR"])


def note(what: str) -> None:
    with (FOLDER / "journal").open("a") as journal:
        journal.write(f"{NAME} {what}\n")


def out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    out(f"(EngineCore pid={os.getpid()}) INFO 11-24 08:25:14 [core.py:1] {text}\n")


def behaviour() -> str:
    """What this attempt does."""
    begun = [
        line for line in (FOLDER / "journal").read_text().splitlines() if line.startswith(f"{NAME} begin")
    ]
    script = os.environ.get("FAKE_VLLM", "ok").split(",")
    return script[min(len(begun), len(script)) - 1]


def _parted(word: str) -> tuple[str, str, str]:
    return word.partition("=")


def load() -> None:
    """The log of a start, in the wordings of 0.32 on CUDA."""
    say("Initializing a V1 LLM engine (v0.32.0) with config: model='x'")
    for percent in (0, 100):
        out(f"Loading safetensors checkpoint shards: {percent:3}% Completed | 1/1\r")
        time.sleep(CHUNK_S)
    out("\n")
    say("Model loading took 0.50 GiB memory and 0.1 seconds")
    say("Graph capturing finished in 1 secs, took 0.25 GiB")
    say("GPU KV cache size: 65,536 tokens, Maximum concurrency for 2,048 tokens per request: 32.00x")


def start_engine() -> subprocess.Popen[bytes]:
    subprocess.Popen([sys.executable, "-c", ENGINE, "escaped"], start_new_session=True)
    return subprocess.Popen([sys.executable, "-c", ENGINE, "VLLM::EngineCore"])


async def serve(mode: str) -> int:
    engine = start_engine()
    load()
    if mode in FAILURES:
        out(f"{FAILURES[mode]}\n")
        out("RuntimeError: Engine core initialization failed. See root cause above.\n")
        return 1
    if mode == "late":
        await asyncio.Event().wait()
    adapters = tuple((name, root) for name, _, root in map(_parted, values("--lora-modules")))
    options = SimOptions(
        sys.argv[sys.argv.index("serve") + 1],
        served_names=(NAME,),
        adapters=adapters,
        port=int(value("--port")),
        engine=EngineLimits(step_s=0, prefill_tokens_per_s=0),
    )
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with SimulatedReplica(options) as replica:
        note(f"ready {engine.pid}")
        if mode == "die":
            return 3
        stopped = asyncio.create_task(stopping.wait())
        died = asyncio.create_task(asyncio.to_thread(engine.wait))
        done, _ = await asyncio.wait((stopped, died), return_when=asyncio.FIRST_COMPLETED)
        if stopped not in done and mode == "silent":
            replica.set_faults(health_status=503)
            await stopped
        note("sigterm" if stopped.done() else "engine died")
        engine.kill()
        return 0 if stopped.done() else 1


if __name__ == "__main__":
    note(f"begin {' '.join(sys.argv[1:])}")
    code = asyncio.run(serve(behaviour()))
    os._exit(code)
