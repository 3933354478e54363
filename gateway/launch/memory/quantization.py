"""How many bytes a weight matrix takes under a quantisation method, after repacking for the kernels.

Owns the table of methods and the reading of `quantization_config`. A method that is not in the table is
refused by name; its real size can still be had from the safetensors headers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from gateway.launch.memory.formats import Scheme, items, read_scheme, whole
from gateway.launch.memory.reading.keys import Json
from gateway.launch.memory.terms import UnmodelledError

_IGNORE_KEYS = (
    "modules_to_not_convert",
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "exclude",
    "llm_int8_skip_modules",
)
_UNQUANTISED_BITS = 16
_FP8_NATIVE_CAPABILITY = 89
_FP8_BITS = 8


@dataclass(frozen=True, slots=True)
class Quantization:
    """The quantisation of a whole model."""

    scheme: Scheme | None
    """As it lies in memory; None: nothing is quantised."""
    stored: Scheme | None = None
    """As it lies in the files; None: there it is not quantised."""
    ignored: tuple[str, ...] = ()
    """Module names or patterns that stay in 16 bit."""
    head: bool = False
    """Whether the LM head is quantised too."""
    kv_cache_dtype: str = "auto"
    """What the checkpoint asks for where `--kv-cache-dtype` is auto."""

    @property
    def needs_bitsandbytes(self) -> bool:
        """Whether the weights are quantised with that library."""
        return self.scheme is not None and self.scheme.name.startswith("bitsandbytes")

    def covers(self, module: str, layer: int) -> bool:
        """Whether linear module `module` of layer `layer` (-1: outside the layers) is quantised."""
        if self.scheme is None or (self.scheme.experts_only and "experts" not in module):
            return False
        if module == "lm_head":
            return self.head
        return not any(_matches(pattern, module, layer) for pattern in self.ignored)


NO_QUANTIZATION = Quantization(None)


def read_quantization(config: Json, override: str | None, capability: int | None) -> Quantization:
    """The quantisation that vLLM will apply.

    Args:
        config: the parsed config.json (its `quantization_config`, also inside `text_config`).
        override: value of --quantization, which quantises a 16-bit checkpoint while loading; or None.
        capability: CUDA compute capability times ten of the GPU (90 for H100), None if unknown.

    Raises:
        UnmodelledError: a method whose storage is not modelled.
    """
    section = _section(config)
    if not section:
        return _from_flag(override, capability) if override else NO_QUANTIZATION
    stored = read_scheme(section)
    scheme = None if stored is None else for_capability(stored, capability)
    ignored = [str(item) for key in _IGNORE_KEYS for item in items(section.get(key))]
    ignored += _exceptions(section)
    return Quantization(
        scheme, stored, tuple(ignored), bool(section.get("lm_head")), _kv_cache_dtype(section)
    )


def stored_somehow(config: Json) -> Quantization:
    """What is known of a method that is not modelled: nothing of the weights, but how the cache is stored."""
    return Quantization(None, kv_cache_dtype=_kv_cache_dtype(_section(config)))


def for_capability(scheme: Scheme, capability: int | None) -> Scheme:
    """The scheme after repacking for GPUs that lack its arithmetic.

    Below compute capability 8.9 vLLM runs FP8 through Marlin, which expands block scales to one bf16 per
    128 inputs of every output row (`marlin_utils_fp8.py`).
    """
    if scheme.block[0] and capability is not None and capability < _FP8_NATIVE_CAPABILITY:
        name = f"{scheme.name} (Marlin)"
        return replace(scheme, name=name, group=scheme.block[1], group_bytes=2.0, block=(0, 0))
    return scheme


def _exceptions(section: Json) -> Iterator[str]:
    """Modules that GPTQModel's `dynamic` and AutoRound's `extra_config` leave in 16 bit.

    Raises:
        UnmodelledError: some are quantised otherwise than the rest.
    """
    dynamic, extra = section.get("dynamic"), section.get("extra_config")
    for pattern in dynamic if isinstance(dynamic, Mapping) else ():
        if not str(pattern).startswith("-:"):
            raise UnmodelledError("GPTQ with several weight formats in one model is not modelled")
        yield f"re:{str(pattern)[2:]}"
    main_bits = whole(section.get("bits"), 4)
    for name, special in extra.items() if isinstance(extra, Mapping) else ():
        bits = whole(special.get("bits") if isinstance(special, Mapping) else None, main_bits)
        if bits >= _UNQUANTISED_BITS:
            yield str(name)
        elif bits != main_bits:
            raise UnmodelledError("AutoRound with several weight formats in one model is not modelled")


def _section(config: Json) -> Json:
    for holder in (config, config.get("text_config"), config.get("llm_config")):
        if isinstance(holder, Mapping):
            section = holder.get("quantization_config") or holder.get("compression_config")
            if isinstance(section, Mapping):
                nested = section.get("quantization")
                return nested | {"quant_method": "modelopt"} if isinstance(nested, dict) else section
    return {}


def _from_flag(name: str, capability: int | None) -> Quantization:
    schemes = {
        "fp8": Scheme("fp8", 8),
        "fp8_per_tensor": Scheme("fp8", 8),
        "fp8_per_block": Scheme("fp8 block", 8, block=(128, 128)),
        "bitsandbytes": Scheme("bitsandbytes 4 bit", 4, 64, 4.0),
        "ptpc_fp8": Scheme("fp8", 8, -1, 4.0),
    }
    scheme = schemes.get(name)
    if scheme is None:
        raise UnmodelledError(f"--quantization {name} on an unquantised checkpoint is not modelled")
    return Quantization(for_capability(scheme, capability))


def _kv_cache_dtype(section: Json) -> str:
    """What the checkpoint says about its KV cache (vLLM `torch_utils.py`, get_kv_cache_quant_algo_string)."""
    scheme = section.get("kv_cache_scheme")
    if isinstance(scheme, Mapping):
        return "fp8" if whole(scheme.get("num_bits"), 0) == _FP8_BITS else "auto"
    algorithm = str(section.get("kv_cache_quant_algo") or "").lower()
    if algorithm == "fp8":
        return "fp8"
    return algorithm or "auto"


def _matches(pattern: str, module: str, layer: int) -> bool:
    """Whether an ignore entry names the module; entries are names, prefixes, globs or `re:` expressions."""
    for component in module.split("|"):
        for root in ("model.", "model.language_model.", ""):
            name = f"{root}layers.{layer}.{component}" if layer >= 0 else component
            if pattern.startswith("re:"):
                if re.match(pattern[3:], name):
                    return True
            elif "*" in pattern:
                if fnmatchcase(name, pattern) or fnmatchcase(f"{name}.weight", pattern):
                    return True
            elif name == pattern or name.startswith(f"{pattern}.") or component == pattern:
                return True
    return False
