"""What holds for every text and every configuration."""

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import Config, ConfigError, parse

from .samples import EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "replicas: [http://a]",
        EXAMPLE,
        (
            "listen: '[::1]:1'\nmodels: {a: {launch: {model: m, kv_cache: 1GiB, adapters: {x: y},"
            " gpus: [0]}}}\n"
            "gpus: [{memory: 2GiB}]\nejection: {hang: off}\naccess_log: a/b\nadmin_token_file: c"
        ),
    ],
)
def test_what_a_configuration_says_can_be_written_and_read_again(text: str) -> None:
    config = parse(text, "g")
    again = parse(yaml.safe_dump(config.model_dump(mode="json")), "g")
    assert again == config


KEYS = sorted(
    {*Config.model_fields, "url", "weight", "launch", "aliases", "timeouts", "total", "model", "<<", ""}
)
SCALARS = st.sampled_from(
    [
        "",
        "off",
        "1",
        "0",
        "-1",
        "1.5",
        ".nan",
        "http://a",
        "http://a:1/v1",
        ":1",
        "auto",
        "5s",
        "1GiB",
        "x y",
        "!t",
        "*a",
        "&a 1",
        "'",
        "[",
        "[::1]:1",
        "2024-01-01",
        "1:30",
        '"\\ud800"',
        '"\\0"',
    ]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4).map(
            lambda section: "{" + ", ".join(f"{key}: {value}" for key, value in section.items()) + "}"
        ),
    ),
    max_leaves=12,
)
TOP_LEVEL = st.lists(st.tuples(st.sampled_from(KEYS), TREES), max_size=5).map(
    lambda entries: "\n".join(f"{key}: {tree}" for key, tree in entries)
)


@settings(deadline=None)
@given(TOP_LEVEL | TREES | st.text() | st.text(alphabet="a:-[]{}&*!|>'\"%@`#,?~<= \n\t\\U0F"))
@example("models: {a: {launch: {model: m, replicas: 65536, port: 65535}}}")
@example("%TAG ! tag:yaml.org,2002:\n---\n!int ''")
@example("replicas: [http://a]\nmodels: {'[key]': 1}")
def test_any_text_loads_or_is_a_config_error(text: str) -> None:
    config = error = None
    try:
        config = parse(text, "g")
    except ConfigError as refusal:
        error = refusal
    if config is not None:
        assert config.replicas or config.models
    else:
        assert all(line.startswith("g:") for line in str(error).split("\n"))
        assert str(error).isprintable() or "\n" in str(error)
