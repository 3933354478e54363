"""Whatever a config.json says, the answer is a budget or one plain sentence, never another exception."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.launch.memory.reading import read_model
from gateway.launch.memory.terms import UnmodelledError
from gateway.launch.placement.placing import place
from gateway.launch.plan import NoFitError
from gateway.launch.request import InstanceRequest
from tests.unit.launch.builders import h100, llama_config
from tests.unit.launch.ground_truth import model_configs

_BASES = [llama_config(), *model_configs().values()]
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.floats(allow_nan=True),
    st.sampled_from(["", "auto", "fp8", "full_attention", "M*-E"]),
    st.lists(st.integers(0, 3), max_size=4),
    st.lists(st.sampled_from(["full_attention", "mamba", "x"]), max_size=4),
    st.dictionaries(st.sampled_from(["factor", "rope_type", "quant_method", "bits"]), st.integers(0, 9)),
)


@st.composite
def _mutated(draw: st.DrawFn) -> dict[str, Any]:
    base = dict(draw(st.sampled_from(_BASES)))
    for name in draw(st.lists(st.sampled_from(sorted(base)), min_size=1, max_size=3)):
        base[name] = draw(_VALUES)
    if draw(st.booleans()):
        base["quantization_config"] = draw(_VALUES)
    return base


@settings(max_examples=150, deadline=None)
@given(_mutated())
@example(llama_config(num_attention_heads=0))
@example(llama_config(hidden_size=-1))
@example({})
def test_a_damaged_config_is_planned_or_refused(config: dict[str, Any]) -> None:
    refusal = _refusal(config)
    assert refusal is None or (refusal and "\n" not in refusal)


def _refusal(config: dict[str, Any]) -> str | None:
    try:
        place([InstanceRequest("m", "/m", read_model(config), config)], [h100(0), h100(1)])
    except (UnmodelledError, NoFitError) as error:
        return str(error)
    return None


def test_a_whole_number_in_words_is_refused() -> None:
    with pytest.raises(UnmodelledError, match="vocab_size"):
        read_model(llama_config(vocab_size="many"))
