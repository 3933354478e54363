"""The schedule of faults, drawn from a seed, and how each of them strikes and heals."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.chaos.replicas import Replica

Strike = Callable[[Replica, Random], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to come. `seed` decides how long it lasts and where in a stream it strikes."""

    kind: str
    model: str
    seed: int


def schedule(seed: int, count: int, models: tuple[str, ...]) -> Iterator[Fault]:
    """As many faults; the same for the same seed. Each kind comes up as often as its weight says."""
    rng = Random(seed)
    kinds = tuple(STRIKES)
    weights = [weight for weight, _ in STRIKES.values()]
    for _ in range(count):
        (kind,) = rng.choices(kinds, weights)
        yield Fault(kind, rng.choice(models), rng.getrandbits(32))


async def strike(fault: Fault, replica: Replica) -> None:
    """Let the fault strike, and heal it."""
    await STRIKES[fault.kind][1](replica, Random(fault.seed))


# -- the process --


async def _kill(replica: Replica, rng: Random) -> None:
    await replica.restart(rng.uniform(0.1, 1.0))


async def _kill_and_lose_adapters(replica: Replica, rng: Random) -> None:
    await replica.restart(rng.uniform(0.1, 0.5), adapters=False)
    await asyncio.sleep(rng.uniform(0.2, 1.0))
    await replica.load_adapter()


async def _freeze(replica: Replica, rng: Random) -> None:
    await replica.freeze(rng.uniform(0.2, 4.0))


# -- the whole server --


def _while_set(seconds: tuple[float, float], **faults: Any) -> Strike:
    async def strike_and_heal(replica: Replica, rng: Random) -> None:
        await replica.set_faults(faults)
        await asyncio.sleep(rng.uniform(*seconds))
        await replica.clear_faults()

    return strike_and_heal


def _until_restart(seconds: tuple[float, float], **faults: Any) -> Strike:
    """For faults that also shut the door through which they could be healed."""

    async def strike_and_heal(replica: Replica, rng: Random) -> None:
        await replica.set_faults(faults)
        await asyncio.sleep(rng.uniform(*seconds))
        await replica.restart(0.1)

    return strike_and_heal


# -- single requests --


def _some_requests(most: int, **faults: Any) -> Strike:
    async def strike_and_heal(replica: Replica, rng: Random) -> None:
        await replica.set_faults({**faults, "times": rng.randint(1, most)})
        await asyncio.sleep(rng.uniform(0.3, 1.0))
        await replica.clear_faults()

    return strike_and_heal


def _some_streams(most: int, name: str, least: int = 0) -> Strike:
    async def strike_and_heal(replica: Replica, rng: Random) -> None:
        await replica.set_faults({name: rng.randint(least, 30), "times": rng.randint(1, most)})
        await asyncio.sleep(rng.uniform(0.3, 1.0))
        await replica.clear_faults()

    return strike_and_heal


STRIKES: dict[str, tuple[int, Strike]] = {
    "SIGKILL, restart": (4, _kill),
    "SIGKILL, restart without adapters": (2, _kill_and_lose_adapters),
    "SIGSTOP, SIGCONT": (3, _freeze),
    "SIGTERM that leaves streams hanging": (2, _until_restart((0.5, 2.0), terminating=True)),
    "refused connections": (2, _until_restart((0.2, 1.0), refuse=True)),
    "drain": (2, _while_set((0.3, 1.5), drain=True)),
    "hung engine": (2, _while_set((0.3, 5.0), freeze=True)),
    "slow health": (2, _while_set((0.5, 2.0), health_delay_s=0.8)),
    "health without an answer": (2, _while_set((0.5, 3.0), health_hang=True)),
    "health 503": (2, _while_set((0.3, 1.5), health_status=503)),
    "answers in pieces": (1, _while_set((0.3, 1.0), piece_bytes=7)),
    "burst of 503": (2, _some_requests(20, status=503)),
    "burst of 502": (1, _some_requests(20, status=502)),
    "burst of 429": (1, _some_requests(20, status=429)),
    "burst of 500 of a dead engine": (2, _some_requests(10, status=500)),
    "no HTTP": (1, _some_requests(5, garbage_status_line=True)),
    "headers without an end": (1, _some_requests(3, endless_headers=True)),
    "wrong content-length": (1, _some_requests(3, content_length_delta=7)),
    "more after the end": (1, _some_requests(5, bytes_after_end=True)),
    "an event after [DONE]": (1, _some_requests(5, event_after_done=True)),
    "reset after k tokens": (5, _some_streams(8, "reset_after_tokens")),
    "end inside a chunk": (5, _some_streams(8, "close_mid_chunk_after_tokens")),
    "clean end without [DONE]": (4, _some_streams(8, "truncate_after_tokens")),
    "error event, then [DONE]": (4, _some_streams(8, "error_event_after_tokens")),
    "abort that nobody asked for": (4, _some_streams(8, "abort_after_tokens")),
    # Before its first token, a stream that stalls can't be told from one that waits: its deadline ends it.
    "a stream that stalls": (2, _some_streams(2, "stall_after_tokens", least=1)),
}
