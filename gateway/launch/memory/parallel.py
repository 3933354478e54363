"""Which layers a pipeline stage holds, and which tensor-parallel sizes a model allows."""

from collections.abc import Iterator
from itertools import chain

from gateway.launch.memory.model import Attention, Experts, Layer, Mlp, Model, Recurrent


def stages(layers: int, pp: int) -> tuple[tuple[int, int], ...]:
    """[first, last) layer of every pipeline stage (vLLM `distributed/utils.py`, get_pp_indices).

    Layers that do not divide go to the stages from the last but one backwards: the last also has the LM head.
    """
    sizes = [layers // pp] * pp
    for position in range(2, layers % pp + 2):
        sizes[-position] += 1
    ends = [sum(sizes[: index + 1]) for index in range(pp)]
    return tuple((end - size, end) for size, end in zip(sizes, ends, strict=True))


def tensor_parallel_problem(model: Model, tp: int) -> str:
    """Why a model cannot be divided over `tp` GPUs, or an empty string if it can."""
    problems = chain(_mixer_problems(model, tp), _width_problems(model, tp), _tower_problems(model, tp))
    return next(problems, "")


def _mixer_problems(model: Model, tp: int) -> Iterator[str]:
    for mixer in model.mixers:
        if isinstance(mixer, Recurrent):
            bad = next((state.sharded for state in mixer.states if state.recurrent and state.sharded % tp), 0)
            if bad:
                yield f"{bad} state heads cannot be divided by {tp}"
            if mixer.groups > 1 and mixer.groups % tp:
                yield f"{mixer.groups} state groups can neither be divided by nor repeated over {tp}"
        elif mixer.heads % tp:
            yield f"{mixer.heads} attention heads cannot be divided by {tp}"
        elif isinstance(mixer, Attention) and mixer.kv_heads % tp and tp % mixer.kv_heads:
            yield f"{mixer.kv_heads} key/value heads can neither be divided by nor repeated over {tp}"


def _width_problems(model: Model, tp: int) -> Iterator[str]:
    widths = {width for layer in model.layers for width in _widths(layer)}
    yield from (
        f"a feed-forward width of {width} cannot be divided by {tp}" for width in widths if width % tp
    )


def _tower_problems(model: Model, tp: int) -> Iterator[str]:
    for tower in model.towers:
        for size, of in ((tower.heads, "attention heads"), (tower.intermediate, "feed-forward rows")):
            if tower.sharded and size % tp:
                yield f"{size} {of} of the {tower.name} encoder cannot be divided by {tp}"


def _widths(layer: Layer) -> tuple[int, ...]:
    if isinstance(layer.ffn, Mlp):
        return (layer.ffn.intermediate,)
    if isinstance(layer.ffn, Experts):
        return layer.ffn.intermediate, layer.ffn.shared_intermediate, layer.ffn.dense_intermediate
    return ()
