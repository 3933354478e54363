"""A replica is lost in the middle of twenty streams: each goes on from the other, and no client notices."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.real.crowd import ON_VICTIM, TOKENS, VISITS, Crowd, struck
from tests.real.fleet import BASE, SHARED_ADAPTER, Fleet
from tests.real.front import Gateway, wait_until_serving
from tests.real.servers import VllmServer
from tests.real.streams import CHAT, COMPLETIONS, Heard

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

RESUMED, BROKEN = "vllm_gateway_resumed_streams_total", "vllm_gateway_broken_streams_total"


@dataclass(frozen=True)
class Accident:
    """What happens to a replica, and how it is made well again."""

    strike: Callable[[VllmServer], None]
    recover: Callable[[VllmServer], None]


ACCIDENTS = {
    "the engine is killed": Accident(VllmServer.kill_engine, VllmServer.restart),
    "the API server is killed": Accident(VllmServer.kill_api_server, VllmServer.restart),
    "the replica is told to end": Accident(VllmServer.ask_to_end, VllmServer.restart),
    "the requests are aborted": Accident(lambda server: server.post("/abort_requests"), lambda _: None),
    "the replica is put to sleep": Accident(
        lambda server: server.post("/sleep?level=1&mode=abort"), lambda server: server.post("/wake_up")
    ),
}


@dataclass(frozen=True)
class Aftermath:
    """What an accident left behind; the counts are of this accident only."""

    crowd: Crowd
    resumed: int
    not_resumed: int
    broken: int


def counts(gateway: Gateway) -> tuple[int, int, int]:
    resumed = gateway.metric(RESUMED, model=BASE, outcome="resumed")
    return (
        int(resumed),
        int(gateway.metric(RESUMED, model=BASE) - resumed),
        int(gateway.metric(BROKEN, model=BASE)),
    )


@pytest.fixture(scope="module", params=list(ACCIDENTS.values()), ids=list(ACCIDENTS))
def aftermath(
    request: pytest.FixtureRequest, gateway: Gateway, fleet: Fleet, undisturbed: Sequence[Heard]
) -> Iterator[Aftermath]:
    accident: Accident = request.param
    victim = fleet.with_one
    wait_until_serving(gateway, victim)
    before = counts(gateway)
    questions = [each.question for each in undisturbed]
    try:
        crowd = asyncio.run(struck(gateway, victim, questions, accident.strike))
        resumed, not_resumed, broken = (now - then for now, then in zip(counts(gateway), before, strict=True))
        yield Aftermath(crowd, resumed, not_resumed, broken)
    finally:
        accident.recover(victim)
        wait_until_serving(gateway, victim)


def test_the_accident_falls_into_the_middle_of_streams_of_every_kind(aftermath: Aftermath) -> None:
    cut = aftermath.crowd.cut
    assert len(cut) >= ON_VICTIM
    kinds = {(each.question.path, each.question.body["model"]) for each in cut}
    assert kinds == {(path, model) for path in (CHAT, COMPLETIONS) for model in (BASE, SHARED_ADAPTER)}


def test_nobody_sees_an_error_whoever_asks_and_when(aftermath: Aftermath) -> None:
    assert aftermath.crowd.failures == []
    assert len(aftermath.crowd.visits) > len(VISITS)


def test_every_answer_streamed_or_not_is_exactly_that_of_an_undisturbed_run(
    aftermath: Aftermath, undisturbed: Sequence[Heard]
) -> None:
    assert [each.answer for each in aftermath.crowd.heard] == [each.answer for each in undisturbed]


def test_a_continued_stream_is_one_stream(aftermath: Aftermath) -> None:
    for each in aftermath.crowd.cut:
        assert len(each.identities) == 1
        assert each.roles == (each.question.path == CHAT)
        assert each.finishes == ["length"]
        assert [usage["completion_tokens"] for usage in each.usages] == [TOKENS]
        assert each.ends == 1


def test_probabilities_go_on_where_they_stopped(aftermath: Aftermath, undisturbed: Sequence[Heard]) -> None:
    for heard, expected in zip(aftermath.crowd.heard, undisturbed, strict=True):
        if heard.question.body.get("logprobs"):
            assert len(heard.tokens) == TOKENS
            assert heard.logprobs == pytest.approx(expected.logprobs, abs=1e-3)


def test_the_metrics_tell_how_many_were_continued(aftermath: Aftermath) -> None:
    assert aftermath.resumed == len(aftermath.crowd.cut)
    assert aftermath.not_resumed == 0
    assert aftermath.broken == 0
