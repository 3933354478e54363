"""An engine that stands still while its server says that all is well: its streams go on elsewhere."""

import asyncio
from collections.abc import Iterator, Sequence

import openai
import pytest

from tests.real.crowd import ON_VICTIM, Crowd, struck
from tests.real.fleet import SHARED_ADAPTER, Fleet, client_of
from tests.real.front import Gateway, serving, wait_until_serving
from tests.real.servers import VllmServer
from tests.real.streams import Heard

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def impatient(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes five seconds of silence for a hang."""
    config = {**fleet.config()}
    config["ejection"] = {**config["ejection"], "hang": "5s"}
    with serving("impatient", config, tmp_path_factory) as front:
        yield front


@pytest.fixture(scope="module")
def crowd(impatient: Gateway, fleet: Fleet, undisturbed: Sequence[Heard]) -> Iterator[Crowd]:
    """Its victim hangs until the tests below have looked at it."""
    victim = fleet.with_one
    questions = [each.question for each in undisturbed]
    try:
        yield asyncio.run(struck(impatient, victim, questions, VllmServer.hang_engine))
    finally:
        victim.wake_engine()


def ask(client: openai.OpenAI) -> str:
    """The place that answers a request of one token."""
    answer = client.completions.with_raw_response.create(model=SHARED_ADAPTER, prompt="a", max_tokens=1)
    return answer.headers["x-served-by"]


def test_every_answer_of_a_hung_engine_is_that_of_an_undisturbed_run(
    crowd: Crowd, undisturbed: Sequence[Heard]
) -> None:
    assert len(crowd.cut) >= ON_VICTIM
    assert crowd.failures == []
    assert [each.answer for each in crowd.heard] == [each.answer for each in undisturbed]


@pytest.mark.usefixtures("crowd")
def test_the_replica_of_a_hung_engine_is_out_although_it_calls_itself_healthy(
    impatient: Gateway, fleet: Fleet
) -> None:
    assert fleet.with_one.answers("/health")
    status = impatient.status_of(fleet.with_one)
    assert status["condition"] == "ejected"
    assert status["reason"].startswith("hung")
    with client_of(impatient.url) as client:
        assert {ask(client) for _ in range(6)} == {fleet.with_both.url.removeprefix("http://")}


@pytest.mark.usefixtures("crowd")
def test_the_replica_is_back_once_its_engine_moves(impatient: Gateway, fleet: Fleet) -> None:
    fleet.with_one.wake_engine()
    wait_until_serving(impatient, fleet.with_one)
