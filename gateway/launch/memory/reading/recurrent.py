"""Layers with a fixed-size state: Mamba, Gated DeltaNet, Kimi delta, lightning, short convolution.

State shapes follow vLLM `model_executor/layers/mamba/mamba_utils.py` (MambaStateShapeCalculator).
"""

from gateway.launch.memory.model import Projection, Recurrent, State
from gateway.launch.memory.reading.attention import head_dim_of, heads_of, hidden_of
from gateway.launch.memory.reading.keys import Keys
from gateway.launch.memory.terms import UnmodelledError

_MAMBA1_TYPES = frozenset({"mamba", "falcon_mamba", "jamba"})


def read_recurrent(keys: Keys, model_type: str, kind: str) -> Recurrent:
    """The recurrent mixer that the layer pattern calls `kind`.

    Raises:
        UnmodelledError: a kind of recurrence that is not modelled.
    """
    if kind == "conv":
        return _short_conv(keys)
    if kind == "kda":
        return _kimi_delta(keys)
    if kind == "linear_attention" and keys.has("linear_num_value_heads"):
        return _gated_delta_net(keys, model_type)
    if kind == "lightning":
        return _lightning(keys)
    if kind == "mamba":
        return _mamba1(keys) if model_type in _MAMBA1_TYPES else _mamba2(keys, model_type)
    raise UnmodelledError(f"recurrent layers of kind {kind!r} ({model_type}) are not modelled")


def _mamba2(keys: Keys, model_type: str) -> Recurrent:
    hidden = hidden_of(keys)
    head_dim = keys.integer("mamba_head_dim", "mamba_headdim", "mamba_d_head", "head_dim", default=64)
    expand = keys.number("mamba_expand", "expand", default=2)
    inner = keys.integer("mamba_d_ssm", "mamba_intermediate_size", default=0)
    heads = keys.integer("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads", default=0)
    if not inner:
        inner = heads * head_dim if heads and model_type != "mamba2" else int(expand * hidden)
    heads = heads or inner // head_dim
    groups = keys.integer("mamba_n_groups", "mamba_ngroups", "n_groups", default=1)
    state_size = keys.integer("mamba_d_state", "ssm_state_size", "state_size", default=128)
    kernel = keys.integer("mamba_d_conv", "conv_kernel", default=4)
    channels = inner + 2 * groups * state_size
    return Recurrent(
        kind="mamba2",
        prefix="mixer" if model_type in {"nemotron_h", "mamba2"} else "mamba",
        projections=(
            Projection("in_proj", inner + channels + heads, hidden, "column"),
            Projection("conv1d", channels, kernel, "column", linear=False),
            Projection("out_proj", hidden, inner, "row"),
        ),
        states=(
            State(inner, kernel - 1, recurrent=False),
            State(heads, inner // heads * state_size, recurrent=True),
        ),
        state_dtype=keys.text(
            "mamba_ssm_cache_dtype", default="float32" if model_type == "nemotron_h" else "auto"
        ),
        groups=groups,
        group_state=state_size * (kernel - 1),
        group_rows=2 * state_size,
    )


def _mamba1(keys: Keys) -> Recurrent:
    hidden = hidden_of(keys)
    inner = int(keys.number("mamba_expand", "expand", default=2) * hidden)
    state_size = keys.integer("mamba_d_state", "state_size", default=16)
    kernel = keys.integer("mamba_d_conv", "conv_kernel", default=4)
    rank_value = keys.find("mamba_dt_rank", "time_step_rank")
    rank = rank_value if isinstance(rank_value, int) else -(-hidden // 16)
    return Recurrent(
        kind="mamba1",
        prefix="mamba",
        projections=(
            Projection("in_proj", 2 * inner, hidden, "column"),
            Projection("conv1d", inner, kernel, "column", linear=False),
            Projection("x_proj", rank + 2 * state_size, inner, "row"),
            Projection("dt_proj", inner, rank, "column"),
            Projection("A_log", inner, state_size, "column", linear=False),
            Projection("out_proj", hidden, inner, "row"),
        ),
        states=(State(inner, kernel - 1, recurrent=False), State(inner, state_size, recurrent=True)),
        state_dtype=keys.text("mamba_ssm_cache_dtype", default="auto"),
    )


def _gated_delta_net(keys: Keys, model_type: str) -> Recurrent:
    hidden = hidden_of(keys)
    key_heads = keys.integer("linear_num_key_heads", default=16)
    value_heads = keys.integer("linear_num_value_heads")
    key_dim = keys.integer("linear_key_head_dim", default=128)
    value_dim = keys.integer("linear_value_head_dim", default=128)
    kernel = keys.integer("linear_conv_kernel_dim", default=4)
    channels = 2 * key_heads * key_dim + value_heads * value_dim
    default = "float32" if model_type.startswith("qwen3_5") else "auto"
    return Recurrent(
        kind="gated_delta_net",
        prefix="linear_attn",
        projections=(
            Projection("in_proj_qkvz", channels + value_heads * value_dim, hidden, "column"),
            Projection("in_proj_ba", 2 * value_heads, hidden, "column"),
            Projection("conv1d", channels, kernel, "column", linear=False),
            Projection("out_proj", hidden, value_heads * value_dim, "row"),
        ),
        states=(
            State(channels, kernel - 1, recurrent=False),
            State(value_heads, value_dim * key_dim, recurrent=True),
        ),
        state_dtype=keys.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype", default=default),
    )


def _kimi_delta(keys: Keys) -> Recurrent:
    hidden = hidden_of(keys)
    linear = Keys(keys.section("linear_attn_config"), {}, "config.json: linear_attn_config")
    heads = linear.integer("num_heads", default=heads_of(keys))
    head_dim = linear.integer("head_dim", default=128)
    kernel = linear.integer("short_conv_kernel_size", default=4)
    width = heads * head_dim
    return Recurrent(
        kind="kimi_delta",
        prefix="self_attn",
        projections=(
            Projection("qkv_proj", 3 * width, hidden, "column"),
            Projection("f_a_proj", head_dim, hidden, "none"),
            Projection("f_b_proj", width, head_dim, "column"),
            Projection("g_a_proj", head_dim, hidden, "none"),
            Projection("g_b_proj", width, head_dim, "column"),
            Projection("b_proj", heads, hidden, "column"),
            Projection("conv1d", 3 * width, kernel, "column", linear=False),
            Projection("o_proj", hidden, width, "row"),
        ),
        states=(
            State(3 * width, kernel - 1, recurrent=False),
            State(heads, head_dim * head_dim, recurrent=True),
        ),
        state_dtype="float32",
    )


def _lightning(keys: Keys) -> Recurrent:
    hidden, heads, head_dim = hidden_of(keys), heads_of(keys), head_dim_of(keys)
    width = heads * head_dim
    return Recurrent(
        kind="lightning",
        prefix="self_attn",
        projections=(
            Projection("qkv_proj", 3 * width, hidden, "column"),
            Projection("output_gate", width, hidden, "column"),
            Projection("out_proj", hidden, width, "row"),
        ),
        states=(State(heads, head_dim * head_dim, recurrent=True),),
        state_dtype="auto",
    )


def _short_conv(keys: Keys) -> Recurrent:
    hidden = hidden_of(keys)
    kernel = keys.integer("conv_L_cache", default=3)
    return Recurrent(
        kind="short_conv",
        prefix="conv",
        projections=(
            Projection("in_proj", 3 * hidden, hidden, "column"),
            Projection("conv", hidden, kernel, "column", linear=False),
            Projection("out_proj", hidden, hidden, "row"),
        ),
        states=(State(hidden, kernel - 1, recurrent=False),),
        state_dtype="auto",
    )
