"""Published models, against their parameter counts and against what vLLM 0.32 makes of their config.json.

`published_models.json` holds a config.json as it was published and, where they are known:

    parameters  of the checkpoint, without what vLLM does not load, tied embeddings once
    vllm        by tensor-parallel size what vLLM builds on PyTorch's meta device: bytes of all parameters of
                a rank, blocks of a 40 GiB KV cache (grouped as for CUDA, 16 tokens each), and the requests of
                full length that it then announces
    length, in_flight, prefix_caching
                tokens of a request, tokens scheduled at once, and vLLM's choice, for these numbers

Quantisation is left out of vLLM's numbers: its kernels are not there on a CPU.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.launch.memory.attention import CacheFormat
from gateway.launch.memory.geometry import CacheGeometry, CacheRequest, cache_geometry
from gateway.launch.memory.inventory import embedding, head, layer_matrices
from gateway.launch.memory.model import Model, Task
from gateway.launch.memory.parallel import tensor_parallel_problem
from gateway.launch.memory.quantization import NO_QUANTIZATION
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import GIB
from gateway.launch.memory.versions import Version
from gateway.launch.memory.weights import raw_bytes

Case = Mapping[str, Any]
CASES = json.loads((Path(__file__).parents[2] / "data" / "memory" / "published_models.json").read_text())
VLLM = Version(0, 32)
UNLIKE: Mapping[str, str] = {
    "Mistral-Small-3.1-24B": "transformers ties it by default; the checkpoint's own LM head unties it",
    "e5-mistral-7b": "vLLM takes it for a chat model where no modules.json says that it is for embeddings",
    "all-MiniLM-L6-v2": "the pooler, which vLLM leaves out, is a part of so small a model",
    "bge-large-en-v1.5": "the pooler, which vLLM leaves out",
    "ModernBERT-large": "the classification head",
}
"""Models whose weights differ by more than the test allows, with the reason."""


MADE = [case for case in CASES if "vllm" in case]


def _model(case: Case) -> Model:
    return read_model(
        {name: value for name, value in case["config"].items() if name != "quantization_config"}
    )


def _geometry(case: Case, model: Model, tp: int) -> CacheGeometry:
    batched = case["in_flight"] if model.task is Task.TRANSCRIBE else case["in_flight"] // 2  # two at once
    fmt = CacheFormat(tp, "auto", 16, model.dtype)
    request = CacheRequest(fmt, 1, case["length"], batched, VLLM, case["prefix_caching"])
    return cache_geometry(model, request)


def _held_parameters(model: Model, tp: int) -> int:
    """Of one rank; without the copies that vLLM makes of latent projections once they are loaded."""
    layers = (m for n, layer in enumerate(model.layers) for m in layer_matrices(layer, n, model.hidden, tp))
    last = () if model.task is Task.POOL else head(model, tp)
    held = (*embedding(model, tp), *layers, *last)
    return sum(matrix.elements for matrix in held if matrix.module != "self_attn.absorbed")


def _name(value: object) -> str | None:
    return str(value["name"]) if isinstance(value, dict) else None


@pytest.mark.parametrize("case", [case for case in CASES if "parameters" in case], ids=_name)
def test_parameters_are_those_that_were_published(case: Case) -> None:
    predicted = raw_bytes(read_model(case["config"]), NO_QUANTIZATION, 2) / 2
    assert predicted == pytest.approx(case["parameters"], rel=0.005)


@pytest.mark.parametrize("case", MADE, ids=_name)
def test_every_rank_holds_the_weights_that_vllm_makes(case: Case) -> None:
    model = _model(case)
    for tp, (made, _, _) in ((int(size), numbers) for size, numbers in case["vllm"].items()):
        assert tensor_parallel_problem(model, tp) == ""
        allowed = 0.05 if case["name"] in UNLIKE else 0.005 if tp == 1 else 0.02
        assert 2 * _held_parameters(model, tp) == pytest.approx(made, rel=allowed), tp


@pytest.mark.parametrize("case", MADE, ids=_name)
def test_the_cache_is_that_of_vllm_to_the_block(case: Case) -> None:
    model = _model(case)
    for tp, (_, blocks, requests) in ((int(size), numbers) for size, numbers in case["vllm"].items()):
        geometry = _geometry(case, model, tp)
        assert geometry.blocks(40 * GIB) == blocks, tp
        assert geometry.concurrency(40 * GIB) == pytest.approx(requests, rel=1e-5), tp
