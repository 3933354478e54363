"""What a starting server is doing, by real lines of vLLM 0.32's log."""

import pytest

from gateway.launch.supervision.stages import stage_of


@pytest.mark.parametrize(
    ("line", "doing"),
    [
        (
            "(APIServer pid=1) INFO 11-24 08:24:57 [api_utils.py:286] non-default args: {'model_tag': 'm'}",
            "reading the model's configuration",
        ),
        (
            "(EngineCore pid=2) INFO 11-24 08:25:14 [core.py:133] Initializing a V1 LLM engine (v0.32.0)",
            "starting the engine",
        ),
        (
            "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:00<?, ?it/s]",
            "loading weights (50 %)",
        ),
        ("(Worker pid=3) INFO [x] Model loading took 15.0 GiB memory and 3 seconds", "measuring memory"),
        ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  43%|###", "capturing CUDA graphs (43 %)"),
        (
            "(EngineCore pid=2) INFO [x] CPU KV cache size: 65,536 tokens, Maximum concurrency",
            "preparing the KV cache",
        ),
        ("INFO:     Started server process [30535]", "opening its port"),
        ("(APIServer pid=1) INFO 11-24 08:24:57 [model.py:2152] Using max model len 2048", None),
    ],
)
def test_a_line_tells_what_it_is_doing(line: str, doing: str | None) -> None:
    assert stage_of(line) == doing
