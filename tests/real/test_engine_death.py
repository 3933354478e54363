"""A replica whose engine is killed under load: every answer comes, or goes on, from the other replica."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx2
import openai
import pytest

from tests.real.fleet import BASE, SHARED_ADAPTER, Fleet, client_of
from tests.real.front import Gateway
from tests.real.guarded import wait_until
from tests.real.servers import VllmServer

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PROMPT = "When a server dies in the middle of a sentence"
TOKENS = 64
CLIENTS = 20
AFTER_THE_DEATH = 60


@dataclass
class Outcome:
    """One request of the load and how it ended."""

    model: str
    text: str = ""
    finish: str | None = None
    failure: str | None = None


@dataclass
class Load:
    """Clients that ask again as soon as they are answered, until told to stop.

    Half of them stream; half of the streaming and of the others ask for the adapter.
    """

    client: openai.AsyncOpenAI
    outcomes: list[Outcome] = field(default_factory=list)
    is_over: bool = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                ask = self._stream if number % 2 else self._complete
                clients.create_task(
                    self._ask_again_and_again(ask, BASE if number % 4 < 2 else SHARED_ADAPTER)
                )

    async def _ask_again_and_again(self, ask: Callable[[Outcome], Awaitable[None]], model: str) -> None:
        while not self.is_over:
            outcome = Outcome(model)
            try:
                await ask(outcome)
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                outcome.failure = repr(error)
            self.outcomes.append(outcome)

    async def _stream(self, outcome: Outcome) -> None:
        stream = await self.client.completions.create(
            model=outcome.model, prompt=PROMPT, max_tokens=TOKENS, temperature=0, stream=True
        )
        async for chunk in stream:
            outcome.text += chunk.choices[0].text
            outcome.finish = chunk.choices[0].finish_reason or outcome.finish

    async def _complete(self, outcome: Outcome) -> None:
        answer = await self.client.completions.create(
            model=outcome.model, prompt=PROMPT, max_tokens=TOKENS, temperature=0
        )
        outcome.text = answer.choices[0].text
        outcome.finish = answer.choices[0].finish_reason


def undisturbed(victim: VllmServer) -> dict[str, str]:
    """The right answer of each model, from a quiet replica."""
    with client_of(victim.url) as direct:
        answers = {
            model: direct.completions.create(model=model, prompt=PROMPT, max_tokens=TOKENS, temperature=0)
            for model in (BASE, SHARED_ADAPTER)
        }
    return {model: answer.choices[0].text for model, answer in answers.items()}


async def load_while_the_engine_dies(gateway: Gateway, victim: VllmServer) -> list[Outcome]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        load = Load(client)
        running = asyncio.create_task(load.run())
        await asyncio.to_thread(wait_until, lambda: victim.running_requests() >= 4, "the victim is busy")
        victim.kill_engine()
        enough = len(load.outcomes) + AFTER_THE_DEATH
        await asyncio.to_thread(wait_until, lambda: len(load.outcomes) >= enough, "the load goes on", 60)
        load.is_over = True
        await running
        return load.outcomes


@dataclass(frozen=True)
class Death:
    """What the death of an engine under load left behind."""

    victim: VllmServer
    expected: dict[str, str]
    outcomes: list[Outcome]


@pytest.fixture(scope="module")
def death(gateway: Gateway, fleet: Fleet) -> Iterator[Death]:
    victim = fleet.with_one
    expected = undisturbed(victim)
    try:
        yield Death(victim, expected, asyncio.run(load_while_the_engine_dies(gateway, victim)))
    finally:
        if not victim.answers("/health"):
            victim.restart()


def test_no_request_fails_whether_it_had_an_answer_already_or_not(death: Death) -> None:
    assert [outcome.failure for outcome in death.outcomes if outcome.failure] == []


def test_every_answer_is_the_undisturbed_one(death: Death) -> None:
    assert len(death.outcomes) >= AFTER_THE_DEATH
    answers = {(outcome.model, outcome.text, outcome.finish) for outcome in death.outcomes}
    assert answers == {(model, text, "length") for model, text in death.expected.items()}


def test_the_replica_serves_again_once_restarted_with_its_adapter(
    death: Death, client: openai.OpenAI
) -> None:
    death.victim.restart()

    def is_serving() -> bool:
        client.completions.create(model=SHARED_ADAPTER, prompt=PROMPT, max_tokens=1)
        return death.victim.finished_requests() > 0

    wait_until(is_serving, "the gateway sends requests to it again")
