"""Many clients at once, half of them on each of two replicas, and something that happens in the middle."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

import aiohttp

from tests.real.fleet import BASE, SHARED_ADAPTER
from tests.real.front import Gateway
from tests.real.servers import VllmServer
from tests.real.streams import CHAT, COMPLETIONS, Heard, Question, listen

STREAMS = 40
TOKENS = 800
ON_VICTIM = STREAMS // 2 - 2
"""Streams that the victim has at least: two workers share them out evenly, but not to the last one."""
UNDER_WAY = 30
"""Events after which a stream is in its middle."""
DEADLINE_S = 180.0
"""On cores that others use too, where vLLM may need a second a token."""

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WITH_LOGPROBS, WITH_PENALTY = ("seven", "eight"), ("nine", "ten")
KINDS = tuple((path, model) for path in (COMPLETIONS, CHAT) for model in (BASE, SHARED_ADAPTER))


def _streamed(path: str, model: str, word: str) -> Question:
    more: dict[str, object] = {"stream": True, "stream_options": {"include_usage": True}}
    if word in WITH_LOGPROBS:
        more["logprobs"] = True if path == CHAT else 1
    if word in WITH_PENALTY:
        more["repetition_penalty"] = 1.1
    return Question.of(path, model, f"When server {word} dies, another", max_tokens=TOKENS, **more)


# In no order that two replicas could take turns by: each gets some of every kind.
STREAMED = Random(5).sample([_streamed(*kind, word) for word in WORDS for kind in KINDS], STREAMS)
assert len(STREAMED) == STREAMS
WHOLE = tuple(
    Question.of(*kind, f"Server {word} dies", max_tokens=TOKENS) for word in WORDS[:2] for kind in KINDS
)
QUESTIONS = (*STREAMED, *WHOLE)
VISITS = tuple(Question.of(*kind, "Is anybody there?", max_tokens=2) for kind in KINDS)


@dataclass(frozen=True)
class Crowd:
    """All answers of one run, and those streams that were in their middle on the victim when it was struck.

    `visits` are short requests that came one after the other all the while.
    """

    heard: Sequence[Heard]
    cut: Sequence[Heard]
    visits: Sequence[Heard]

    @property
    def failures(self) -> list[str]:
        return [each.failure for each in (*self.heard, *self.visits) if each.failure]


async def _visit(http: aiohttp.ClientSession, server: str, question: Question, visits: list[Heard]) -> None:
    while True:
        visit = Heard(question)
        await listen(http, server, visit)
        visits.append(visit)


async def struck(
    gateway: Gateway, victim: VllmServer, questions: Iterable[Question], strike: Callable[[VllmServer], None]
) -> Crowd:
    """Asks everything at once, strikes the victim when all its streams are in their middle, and hears all."""
    place = victim.url.removeprefix("http://")
    heard = [Heard(question) for question in questions]
    streams = [each for each in heard if each.question.is_streamed]
    visits: list[Heard] = []

    def on_victim() -> list[Heard]:
        return [each for each in streams if each.served_by == place]

    def in_the_middle() -> bool:
        # not all have begun perhaps: the other replica may be slower
        begun = on_victim()
        return len(begun) >= ON_VICTIM and all(each.events > UNDER_WAY for each in begun)

    timeout = aiohttp.ClientTimeout(total=2 * DEADLINE_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
        asyncio.TaskGroup() as group,
    ):
        clients = [group.create_task(listen(http, gateway.url, each)) for each in heard]
        visitors = [group.create_task(_visit(http, gateway.url, each, visits)) for each in VISITS]
        end = time.monotonic() + DEADLINE_S
        while not in_the_middle():
            if time.monotonic() > end:
                far = [(each.events, each.failure) for each in on_victim()]
                raise TimeoutError(f"the victim never had its share of streams under way, but {far}")
            await asyncio.sleep(0.01)
        cut = [each for each in on_victim() if not each.is_over]
        await asyncio.to_thread(strike, victim)
        await asyncio.wait(clients)
        for visitor in visitors:
            visitor.cancel()
    return Crowd(heard, cut, visits)
