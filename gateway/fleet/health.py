"""Active health: what a probe's result does to a replica's state.

One rule shapes the table: a refused connection and a saturated engine are different things. Nobody
listening, or the server itself saying 5xx, is a verdict at once. A probe that timed out is only a hint,
because a saturated vLLM answers `/health` late (vllm#24910): it takes `fall` of them in a row. One
success brings a replica back, because vLLM is ready the moment `/health` says 200.
"""

from dataclasses import dataclass, replace
from enum import Enum

from gateway.fleet.snapshot import State


class Probe(Enum):
    """The outcome of one `GET /health`."""

    OK = "ok"
    REFUSED = "refused"
    BAD_STATUS = "bad status"
    TIMEOUT = "timeout"


VERDICTS = {Probe.OK: State.UP, Probe.REFUSED: State.REFUSED, Probe.BAD_STATUS: State.FAILING}
"""What one probe proves. A timeout proves nothing by itself, so it is not here."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is known about one replica; `since` is when `state` last changed, on the caller's clock."""

    state: State = State.STARTING
    since: float = 0.0
    reason: str = "not probed yet"
    timeouts: int = 0


def observe(health: Health, probe: Probe, detail: str, now: float, fall: int) -> Health:
    """The health after one more probe.

    Args:
        health: what was known before.
        probe: the outcome.
        detail: a few words for the operator, such as `connection refused` or `HTTP 503`.
        now: seconds, on the clock of `since`.
        fall: how many timeouts in a row mean unresponsive.
    """
    timeouts = health.timeouts + 1 if probe is Probe.TIMEOUT else 0
    state = VERDICTS.get(probe, health.state)
    if timeouts >= fall:
        state = State.UNRESPONSIVE
    elif probe is Probe.TIMEOUT:
        # Not enough for a verdict: what was known stays.
        return replace(health, timeouts=timeouts)
    since = health.since if state is health.state else now
    return Health(state, since, detail, timeouts)
