"""Small models, cards and requests for the launch tests."""

from typing import Any

from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import GIB
from gateway.launch.request import InstanceRequest
from tests.unit.launch.ground_truth import model_configs

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
QWEN_32B = "Qwen/Qwen3-32B"
BGE_M3 = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 250002,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "torch_dtype": "float32",
}


def llama_config(**changes: Any) -> dict[str, Any]:
    """A small Llama; about 50 MB of weights."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 2048,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }
    return config | changes


def request(config: dict[str, Any] | str, name: str = "model", **options: Any) -> InstanceRequest:
    """An instance of a model, given by config.json or by a name in the test data."""
    values = model_configs()[config] if isinstance(config, str) else config
    return InstanceRequest(name, f"/models/{name}", read_model(values), values, **options)


def h100(index: int = 0, used_gib: float = 0.0) -> Device:
    """An 80 GB H100."""
    return Device(index, "H100", int(79.19 * GIB), DeviceKind.CUDA, int(used_gib * GIB))


def card(gib: float, index: int = 0, name: str = "RTX 3090") -> Device:
    """Any card."""
    return Device(index, name, int(gib * GIB))
