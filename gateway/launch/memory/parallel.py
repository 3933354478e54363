"""Which layers a pipeline stage holds, and which tensor-parallel sizes a model allows."""

from gateway.launch.memory.model import Attention, Model, Recurrent


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
    for mixer in model.mixers:
        if isinstance(mixer, Recurrent):
            bad = next((state.sharded for state in mixer.states if state.recurrent and state.sharded % tp), 0)
            if bad:
                return f"{bad} state heads cannot be divided by {tp}"
            continue
        if mixer.heads % tp:
            return f"{mixer.heads} attention heads cannot be divided by {tp}"
        if isinstance(mixer, Attention) and mixer.kv_heads % tp and tp % mixer.kv_heads:
            return f"{mixer.kv_heads} key/value heads can neither be divided by nor repeated over {tp}"
    for tower in model.towers:
        if tower.sharded and tower.heads % tp:
            return f"{tower.heads} attention heads of the {tower.name} encoder cannot be divided by {tp}"
    return ""
