"""Many clients at once, half of them on each of two replicas, and something that happens in the middle."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import aiohttp

from tests.real.fleet import BASE, SHARED_ADAPTER
from tests.real.front import Gateway
from tests.real.servers import VllmServer
from tests.real.streams import CHAT, COMPLETIONS, Heard, Question, listen

STREAMS = 40
TOKENS = 300
UNDER_WAY = 30
"""Events after which a stream is in its middle."""
DEADLINE_S = 60.0

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WITH_LOGPROBS, WITH_PENALTY = ("seven", "eight"), ("nine", "ten")
KINDS = tuple((path, model) for path in (COMPLETIONS, CHAT) for model in (BASE, SHARED_ADAPTER))


def _question(path: str, model: str, word: str) -> Question:
    more: dict[str, object] = {}
    if word in WITH_LOGPROBS:
        more["logprobs"] = True if path == CHAT else 1
    if word in WITH_PENALTY:
        more["repetition_penalty"] = 1.1
    return Question.of(path, model, f"When server {word} dies, another", max_tokens=TOKENS, **more)


# Rotated from word to word: two replicas that take turns each get some of every kind.
QUESTIONS = tuple(
    _question(*KINDS[(kind + turn) % len(KINDS)], word)
    for turn, word in enumerate(WORDS)
    for kind in range(len(KINDS))
)
assert len(QUESTIONS) == STREAMS


@dataclass(frozen=True)
class Crowd:
    """All streams of one run, and those that were in their middle on the victim when it was struck."""

    heard: Sequence[Heard]
    cut: Sequence[Heard]


async def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {DEADLINE_S:g} s still not: {what}")
        await asyncio.sleep(0.01)


async def struck(
    gateway: Gateway, victim: VllmServer, questions: Iterable[Question], strike: Callable[[VllmServer], None]
) -> Crowd:
    """Asks everything at once, strikes the victim when all its streams are in their middle, and hears all."""
    heard = [Heard(question) for question in questions]
    place = victim.url.removeprefix("http://")

    def on_victim() -> list[Heard]:
        return [each for each in heard if each.served_by == place]

    def in_the_middle() -> bool:
        return all(each.served_by for each in heard) and all(each.events > UNDER_WAY for each in on_victim())

    timeout = aiohttp.ClientTimeout(total=2 * DEADLINE_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        clients = asyncio.gather(*(listen(http, gateway.url, each) for each in heard))
        await _until(in_the_middle, "all streams are in their middle")
        cut = [each for each in on_victim() if not each.is_over]
        await asyncio.to_thread(strike, victim)
        await clients
    return Crowd(heard, cut)
