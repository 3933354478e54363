"""The storage formats of quantised checkpoints, by the `quant_method` of their `quantization_config`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.launch.memory.reading.keys import Json
from gateway.launch.memory.terms import UnmodelledError, ceil_div

_FOUR, _EIGHT = 4, 8
_MX_GROUP = 32
"""Elements that share a scale in the MX formats; NVFP4 has 16."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """Storage of one quantised matrix of `out` x `in` elements."""

    name: str
    bits: float
    group: int = 0
    """Input elements that share a scale; 0: none, -1: a whole row."""
    group_bytes: float = 0.0
    """Bytes of scale and zero point per group and output row."""
    block: tuple[int, int] = (0, 0)
    """(out, in) extent of a two-dimensional scale block; (0, 0): none."""
    experts_only: bool = False
    """Only expert weights are stored this way (gpt-oss)."""

    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """Bytes of one matrix with its scales."""
        size = out_features * in_features * self.bits / 8
        if self.group:
            groups = 1 if self.group < 0 else ceil_div(in_features, self.group)
            size += out_features * groups * self.group_bytes
        if self.block[0]:
            size += ceil_div(out_features, self.block[0]) * ceil_div(in_features, self.block[1]) * 4
        return int(size)


def read_scheme(section: Json) -> Scheme | None:
    """The format that a `quantization_config` describes; None: not quantised.

    Raises:
        UnmodelledError: a method whose storage is not modelled, by name.
    """
    method = str(section.get("quant_method") or ("modelopt" if "quant_algo" in section else "")).lower()
    reader = _METHODS.get(method)
    if reader is None:
        raise UnmodelledError(f"quantisation method {method or 'without a name'!r} is not modelled")
    return reader(section)


def _fp8(section: Json) -> Scheme:
    sizes = items(section.get("weight_block_size"))
    if len(sizes) == len(("out", "in")) and all(isinstance(size, int) for size in sizes):
        return Scheme("fp8 block", 8, block=(int(str(sizes[0])), int(str(sizes[1]))))
    return Scheme("fp8", 8, -1, 4.0 if section.get("activation_scheme") == "dynamic" else 0.0)


def _group_wise(section: Json) -> Scheme:
    bits = whole(section.get("bits") or section.get("w_bit") or section.get("num_bits"), 4)
    group = whole(section.get("group_size") or section.get("q_group_size"), 128)
    return Scheme(f"int{bits} group {group}", bits, group, 2.0 + bits / 8)


def _bitsandbytes(section: Json) -> Scheme:
    if section.get("load_in_8bit") or section.get("_load_in_8bit"):
        return Scheme("bitsandbytes 8 bit", 8, -1, 4.0)
    return Scheme("bitsandbytes 4 bit", 4, 64, 4.0)


def _compressed_tensors(section: Json) -> Scheme:
    sparsity = section.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format") not in {None, "", "dense"}:
        raise UnmodelledError("compressed-tensors with sparse weights is not modelled")
    groups = section.get("config_groups")
    weights: list[Json] = []
    if isinstance(groups, Mapping):
        for group in groups.values():
            section_weights = group.get("weights") if isinstance(group, Mapping) else None
            if isinstance(section_weights, Mapping):
                weights.append(section_weights)
    if not weights:
        raise UnmodelledError("the compressed-tensors section names no weight format")
    if len({(w.get("num_bits"), w.get("type"), w.get("strategy")) for w in weights}) > 1:
        raise UnmodelledError("compressed-tensors with several weight formats in one model is not modelled")
    return _compressed_scheme(weights[0], section)


def _compressed_scheme(weight: Json, section: Json) -> Scheme:
    bits, kind = whole(weight.get("num_bits"), 8), str(weight.get("type"))
    strategy = str(weight.get("strategy") or "channel")
    group = whole(weight.get("group_size"), 128)
    style = f"{section.get('format', '')} {weight.get('format', '')}"
    if bits == _FOUR and kind == "float":
        return (
            Scheme("mxfp4", 4, 32, 1.0)
            if group == _MX_GROUP or "mxfp4" in style
            else Scheme("nvfp4", 4, 16, 1.0)
        )
    if strategy == "block":
        return Scheme("fp8 block", 8, block=(128, 128))
    if strategy in {"channel", "tensor"}:
        scale = (4.0 if kind == "float" or bits == _EIGHT else 2.0) if strategy == "channel" else 0.0
        return Scheme(f"{kind}{bits}", bits, -1, scale)
    zero_point = 0.0 if weight.get("symmetric", True) else bits / 8
    return Scheme(f"{kind}{bits} group {group}", bits, group, 2.0 + zero_point)


def _modelopt(section: Json) -> Scheme:
    algorithm = str(section.get("quant_algo") or "").upper()
    if algorithm in {"FP8", "FP8_PER_CHANNEL_PER_TOKEN"}:
        return Scheme("fp8", 8, -1, 4.0 if "CHANNEL" in algorithm else 0.0)
    if algorithm in {"NVFP4", "W4A16_NVFP4", "NVFP4_AWQ", "W4A8_NVFP4_FP8"}:
        return Scheme("nvfp4", 4, 16, 1.0)
    if algorithm == "MXFP8":
        return Scheme("mxfp8", 8, 32, 1.0)
    raise UnmodelledError(
        f"modelopt quantisation {algorithm or 'without quant_algo'} differs from layer to layer "
        "and cannot be told from config.json"
    )


def _mxfp4(_section: Json) -> Scheme:
    return Scheme("mxfp4", 4, 32, 1.0, experts_only=True)


_METHODS: Mapping[str, Callable[[Json], Scheme | None]] = {
    "fp8": _fp8,
    "fbgemm_fp8": lambda _section: Scheme("fp8", 8, -1, 4.0),
    "awq": _group_wise,
    "awq_marlin": _group_wise,
    "gptq": _group_wise,
    "gptq_marlin": _group_wise,
    "auto-round": _group_wise,
    "auto_round": _group_wise,
    "intel/auto-round": _group_wise,
    "inc": _group_wise,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "mxfp4": _mxfp4,
    "none": lambda _section: None,
}


def items(value: object) -> Sequence[object]:
    """A JSON list, empty if it is something else."""
    return value if isinstance(value, (list, tuple)) else ()


def whole(value: object, default: int) -> int:
    """A JSON number as a whole one."""
    return int(value) if isinstance(value, (int, float)) else default
