"""When instances do not fit: which single change would make them fit, with numbers.

Every suggestion has been planned, none is guessed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

from gateway.launch.memory.device import Device
from gateway.launch.memory.model import Reach
from gateway.launch.memory.parallel import tensor_parallel_problem
from gateway.launch.memory.terms import GIB, UnmodelledError
from gateway.launch.placement.demand import Measurements, demand_of, sequences_of
from gateway.launch.placement.placing import fits, place
from gateway.launch.plan import NoFitError, Plan, Suggestion, gib
from gateway.launch.request import InstanceRequest

_SHORTEST = 1024
_LENGTH_STEP = 512
_FEWEST_SEQUENCES = 8

Try = Callable[[Mapping[str, InstanceRequest]], bool]


def place_or_advise(
    requests: Sequence[InstanceRequest], devices: Sequence[Device], measured: Measurements
) -> Plan:
    """A plan, or a NoFitError whose suggestions would each make it fit.

    Raises:
        NoFitError: the instances do not fit.
        UnmodelledError: something about an instance is not modelled.
    """
    try:
        return place(requests, devices, measured)
    except NoFitError as error:
        suggestions = tuple(suggest(requests, devices, measured))
        raise NoFitError(str(error), suggestions, proven=error.proven) from None


def suggest(
    requests: Sequence[InstanceRequest], devices: Sequence[Device], measured: Measurements
) -> Iterator[Suggestion]:
    """Changes to one model each; if none is enough alone, what is missing."""
    found = False

    def works(changed: Mapping[str, InstanceRequest]) -> bool:
        return fits([_changed(request, changed) for request in requests], devices, measured)

    for name in dict.fromkeys(request.name for request in requests):
        group = [request for request in requests if request.name == name]
        for change in _changes(group[0], devices, works):
            found = True
            yield Suggestion(name, change)
    if others := sum(device.used_bytes for device in devices):
        emptied = [replace(device, used_bytes=0) for device in devices]
        if fits(requests, emptied, measured):
            yield Suggestion("", f"stop what else uses the GPUs: others hold {gib(others)}")
    yield from _moves(requests, devices, measured)
    if not found and requests:
        yield Suggestion("", _missing(requests, devices, measured))


def _changed(request: InstanceRequest, changed: Mapping[str, InstanceRequest]) -> InstanceRequest:
    template = changed.get(request.name)
    return request if template is None else replace(template, replica=request.replica)


def _changes(request: InstanceRequest, devices: Sequence[Device], works: Try) -> Iterator[str]:
    for change in (
        _shorter(request, works),
        _fewer_requests(request, works),
        _smaller_cache(request, works),
        _fp8_cache(request, works),
        _fewer_sequences(request, devices, works),
        _eager(request, works),
        _more_gpus(request, devices, works),
    ):
        if change:
            yield change


def _attempt(works: Try, request: InstanceRequest) -> bool:
    return works({request.name: request})


def _shorter(request: InstanceRequest, works: Try) -> str:
    length = request.max_model_len or request.model.max_positions
    best = _largest(
        _SHORTEST // _LENGTH_STEP,
        (length - 1) // _LENGTH_STEP,
        lambda steps: _attempt(works, replace(request, max_model_len=steps * _LENGTH_STEP)),
    )
    return f"max_model_len: {best * _LENGTH_STEP} (instead of {length})" if best else ""


def _fewer_requests(request: InstanceRequest, works: Try) -> str:
    if request.concurrency is None or request.concurrency <= 1:
        return ""
    best = _largest(
        1, ceil(request.concurrency) - 1, lambda wanted: _attempt(works, replace(request, concurrency=wanted))
    )
    return f"concurrency: {best} (instead of {request.concurrency:g})" if best else ""


def _smaller_cache(request: InstanceRequest, works: Try) -> str:
    if request.kv_cache_bytes is None:
        return ""
    tenth = GIB // 10
    best = _largest(
        1,
        max(0, request.kv_cache_bytes - 1) // tenth,
        lambda tenths: _attempt(works, replace(request, kv_cache_bytes=tenths * tenth)),
    )
    return f"kv_cache: {best / 10:.1f}GiB (instead of {gib(request.kv_cache_bytes)})" if best else ""


def _fp8_cache(request: InstanceRequest, works: Try) -> str:
    cached = any(getattr(mixer, "reach", Reach.FULL) is not Reach.ENCODER for mixer in request.model.mixers)
    if request.kv_cache_dtype.startswith("fp8") or not cached or request.kv_cache_bytes is not None:
        return ""
    changed = replace(request, kv_cache_dtype="fp8")
    return "kv_cache_dtype: fp8 (half the KV cache)" if _attempt(works, changed) else ""


def _fewer_sequences(request: InstanceRequest, devices: Sequence[Device], works: Try) -> str:
    current = sequences_of(request, devices[0]) if devices else 0
    best = _largest(
        _FEWEST_SEQUENCES, current - 1, lambda n: _attempt(works, replace(request, max_num_seqs=n))
    )
    return f"max_num_seqs: {best} (instead of {current})" if best else ""


def _eager(request: InstanceRequest, works: Try) -> str:
    if request.enforce_eager or not _attempt(works, replace(request, enforce_eager=True)):
        return ""
    return "enforce_eager: true (no CUDA graphs; slower decoding)"


def _more_gpus(request: InstanceRequest, devices: Sequence[Device], works: Try) -> str:
    if request.tensor_parallel is None:
        return ""
    size = request.tensor_parallel * 2
    while size * request.pipeline_parallel <= len(devices):
        possible = not tensor_parallel_problem(request.model, size)
        if possible and _attempt(works, replace(request, tensor_parallel=size)):
            return f"tensor_parallel: {size} (instead of {request.tensor_parallel})"
        size *= 2
    return ""


def _moves(
    requests: Sequence[InstanceRequest], devices: Sequence[Device], measured: Measurements
) -> Iterator[Suggestion]:
    """Instances without which the others fit."""
    if len(requests) < 2:  # noqa: PLR2004 - one alone cannot make room for another
        return
    for left_out in requests:
        rest = [request for request in requests if request is not left_out]
        if fits(rest, devices, measured):
            size = _needs(left_out, devices, measured)
            yield Suggestion(
                left_out.name, f"move {left_out.label} elsewhere: it needs {size}, the others fit"
            )


def _needs(request: InstanceRequest, devices: Sequence[Device], measured: Measurements) -> str:
    try:
        option = demand_of(request, devices, measured).options[0]
    except UnmodelledError:
        return "memory that cannot be computed"
    budget = next(budget for budget in option.budgets if budget is not None)
    kv_bytes = budget.geometry.bytes_for(max(1.0, request.concurrency or 1.0))
    size = gib(budget.fixed_bytes + (request.kv_cache_bytes or kv_bytes))
    return size if option.world == 1 else f"{size} on each of {option.world} GPUs"


def _missing(requests: Sequence[InstanceRequest], devices: Sequence[Device], measured: Measurements) -> str:
    """How much larger every device would have to be."""
    if not devices:
        return "there is no GPU: name some under `gpus`, or plan on a machine that has one"
    step = GIB
    grown = _smallest(
        1,
        4096,
        lambda extra: fits(
            requests,
            [replace(device, total_bytes=device.total_bytes + extra * step) for device in devices],
            measured,
        ),
    )
    if not grown:
        return "no amount of memory per GPU helps: there are too few GPUs of one kind, or they are pinned"
    return f"about {grown} GiB more on each GPU, or more GPUs"


def _largest(low: int, high: int, works: Callable[[int], bool]) -> int:
    """The largest number in [low, high] that works, if smaller ones work too; 0 if none."""
    if high < low or not works(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if works(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _smallest(low: int, high: int, works: Callable[[int], bool]) -> int:
    """The smallest number in [low, high] that works, if larger ones work too; 0 if none."""
    if not works(high):
        return 0
    while low < high:
        middle = (low + high) // 2
        if works(middle):
            high = middle
        else:
            low = middle + 1
    return low
