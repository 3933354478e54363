"""Parameter counts of many architectures, against the reference implementation.

`parameter_counts.json` holds reduced configs with the number of parameters that transformers 5.19 makes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.launch.memory.quantization import NO_QUANTIZATION
from gateway.launch.memory.reading import read_model
from gateway.launch.memory.weights import raw_bytes

DATA = Path(__file__).parents[2] / "data" / "memory" / "parameter_counts.json"
CASES = json.loads(DATA.read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["config"]["model_type"])
def test_parameters_match_the_reference_implementation(case: Mapping[str, Any]) -> None:
    predicted = raw_bytes(read_model(case["config"]), NO_QUANTIZATION, 2) / 2
    assert predicted == pytest.approx(case["parameters"], rel=0.005)


def test_many_architectures_are_covered() -> None:
    assert len({case["config"]["architectures"][0] for case in CASES}) >= 75
