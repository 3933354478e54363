"""Telling a hung engine from a saturated one.

A hung vLLM answers `/health` with 200 and `/metrics` with frozen numbers, while no token moves (vllm#39863,
vllm#40926). A saturated one is slow to answer anything, but its counters move. So a replica is hung when it
has had requests for long enough with no byte from any of them and no step of its engine; and it is well again
the moment one of the two moves.
"""

from dataclasses import dataclass, replace

Counters = tuple[float, ...]
"""Numbers that grow whenever the engine works: steps, generated tokens, prompt tokens."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a replica. Times are seconds of the monotonic clock.

    `last_byte` is when any of its streams moved last, `counters` are None when they could not be read.
    """

    at: float
    outstanding: int
    last_byte: float
    counters: Counters | None


@dataclass(frozen=True, slots=True)
class Silence:
    """How long, in seconds, the replica has had work and moved nothing; `last` is the sample before."""

    last: Sample
    silent_s: float = 0.0


def listen(silence: Silence | None, sample: Sample) -> Silence:
    """The silence after one more sample.

    Only time between two samples that both saw requests counts: an engine without work owes no sign of life.
    It does not end the silence either, else clients that give up and come back would hide a hang. Where the
    counters can't be read nothing is concluded: other servers than vLLM have none.
    """
    if silence is None:
        return Silence(sample)
    last = silence.last
    if sample.counters is None:
        sample = replace(sample, counters=last.counters)
        counted = False
    else:
        counted = last.counters is not None
    if sample.last_byte != last.last_byte or (counted and sample.counters != last.counters):
        return Silence(sample)
    if counted and last.outstanding > 0 and sample.outstanding > 0:
        return Silence(sample, silence.silent_s + max(0.0, sample.at - last.at))
    return Silence(sample, silence.silent_s)
