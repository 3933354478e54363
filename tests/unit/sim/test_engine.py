"""The batch and KV clock, with a time that stands still."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.sim.engine import RUNNING, WAITING, Engine, EngineLimits, EngineRequest


def request(prompt_tokens: int = 4, priority: int = 0) -> EngineRequest:
    return EngineRequest(prompt_tokens, priority)


def step(engine: Engine, now: float = 0.0) -> list[EngineRequest]:
    if engine.begin(now) is None:
        return []
    return engine.finish()


def test_an_idle_engine_has_nothing_to_begin() -> None:
    assert Engine(EngineLimits()).begin(0.0) is None


def test_a_step_takes_the_decode_time_and_the_prompt_s_own() -> None:
    engine = Engine(EngineLimits(step_s=0.02, prefill_tokens_per_s=1000))
    engine.add(request(100))
    assert engine.begin(5.0) == pytest.approx(5.12)
    engine.finish()
    assert engine.begin(5.12) == pytest.approx(5.14)


def test_steps_keep_their_pace_when_the_timer_is_late() -> None:
    engine = Engine(EngineLimits(step_s=0.02, prefill_tokens_per_s=0))
    engine.add(request())
    assert engine.begin(1.0) == pytest.approx(1.02)
    engine.finish()
    assert engine.begin(1.023) == pytest.approx(1.04)
    engine.finish()
    assert engine.begin(1.5) == pytest.approx(1.52), "too late to catch up"


def test_the_first_token_comes_with_the_end_of_the_prefill() -> None:
    engine = Engine(EngineLimits())
    one = request()
    engine.add(one)
    assert step(engine) == [one]
    assert one.generated == 1


def test_a_long_prompt_is_computed_in_chunks_while_others_decode() -> None:
    engine = Engine(EngineLimits(max_num_batched_tokens=10))
    long, short = request(25), request(2)
    engine.add(short)
    step(engine)
    engine.add(long)
    assert [step(engine) for _ in range(2)] == [[short], [short]]
    assert step(engine) == [short, long]


def test_no_more_than_max_num_seqs_run_and_the_rest_wait_in_order() -> None:
    engine = Engine(EngineLimits(max_num_seqs=2))
    requests = [request() for _ in range(5)]
    for one in requests:
        engine.add(one)
    assert step(engine) == requests[:2]
    assert (engine.stats().running, engine.stats().waiting) == (2, 3)
    engine.remove(requests[0])
    assert step(engine) == [requests[1], requests[2]]


def test_priority_overtakes_only_where_the_policy_says_so() -> None:
    for by_priority in (False, True):
        engine = Engine(EngineLimits(max_num_seqs=1, priority_scheduling=by_priority))
        running, waiting, urgent = request(), request(), request(priority=-1)
        engine.add(running)
        step(engine)
        engine.add(waiting)
        engine.add(urgent)
        engine.remove(running)
        assert step(engine) == [urgent if by_priority else waiting]


def test_a_waiting_request_that_leaves_leaves_no_trace() -> None:
    engine = Engine(EngineLimits(max_num_seqs=1))
    running, waiting = request(), request()
    engine.add(running)
    engine.add(waiting)
    step(engine)
    engine.remove(waiting)
    engine.remove(waiting)
    assert engine.stats().waiting == 0
    engine.remove(running)
    assert engine.stats().kv_usage == 0
    assert engine.begin(1.0) is None


def test_a_request_that_leaves_during_a_step_gets_no_token() -> None:
    engine = Engine(EngineLimits())
    one, other = request(), request()
    engine.add(one)
    engine.add(other)
    engine.begin(0.0)
    engine.remove(one)
    assert engine.finish() == [other]


def test_a_paused_request_gets_no_token_and_loses_none() -> None:
    engine = Engine(EngineLimits())
    one, other = request(), request()
    engine.add(one)
    engine.add(other)
    step(engine)
    one.paused = True
    assert step(engine) == [other]
    one.paused = False
    assert step(engine) == [one, other]
    assert (one.generated, other.generated) == (2, 3)


def test_when_all_are_paused_the_engine_rests() -> None:
    engine = Engine(EngineLimits())
    one = request()
    engine.add(one)
    step(engine)
    one.paused = True
    assert engine.begin(1.0) is None


def test_when_blocks_run_out_the_youngest_is_preempted_and_comes_back() -> None:
    engine = Engine(EngineLimits(num_gpu_blocks=4, block_size=4))
    old, young = request(6), request(6)
    engine.add(old)
    engine.add(young)
    assert step(engine) == [old, young]
    assert engine.stats().kv_usage == 1.0
    assert step(engine) == [old, young]
    assert step(engine) == [old], "no room for the ninth token of both"
    assert young.state == WAITING
    assert engine.stats().preemptions == 1
    engine.remove(old)
    assert step(engine) == [young]
    assert young.generated == 3


def test_a_request_too_big_for_the_cache_runs_alone() -> None:
    engine = Engine(EngineLimits(num_gpu_blocks=2, block_size=4))
    big = request(100)
    engine.add(big)
    assert step(engine) == [big]
    assert engine.stats().kv_usage == 1.0


def test_counters_tell_prompts_once_and_every_token() -> None:
    engine = Engine(EngineLimits())
    engine.add(request(7))
    engine.add(request(5))
    for _ in range(3):
        step(engine)
    stats = engine.stats()
    assert (stats.prompt_tokens, stats.generation_tokens, stats.steps) == (12, 6, 3)


class EngineMachine(RuleBasedStateMachine):
    """Random arrivals, departures, pauses and steps with few blocks and few places."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(
            EngineLimits(max_num_seqs=3, num_gpu_blocks=12, block_size=2, max_num_batched_tokens=6)
        )
        self.open: list[EngineRequest] = []

    @rule(tokens=st.integers(1, 9), priority=st.integers(-1, 1))
    def arrive(self, tokens: int, priority: int) -> None:
        one = request(tokens, priority)
        self.engine.add(one)
        self.open.append(one)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.engine.remove(self.open.pop(data.draw(st.integers(0, len(self.open) - 1))))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def pause_or_resume(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open))
        one.paused = not one.paused

    @rule()
    def run_a_step(self) -> None:
        for one in step(self.engine):
            assert one in self.open
            assert one.state == RUNNING

    @invariant()
    def every_block_is_held_by_exactly_one_running_request(self) -> None:
        stats = self.engine.stats()
        held = sum(one.blocks for one in self.open)
        assert held <= 12
        assert stats.kv_usage == pytest.approx(held / 12)
        assert all(one.blocks == 0 for one in self.open if one.state == WAITING)

    @invariant()
    def every_open_request_runs_or_waits(self) -> None:
        stats = self.engine.stats()
        assert stats.running + stats.waiting == len(self.open)
        assert stats.running <= 3


TestEngineMachine = EngineMachine.TestCase


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_everyone_is_served_in_the_end(prompts: list[int]) -> None:
    engine = Engine(EngineLimits(max_num_seqs=2, num_gpu_blocks=20, block_size=4, max_num_batched_tokens=8))
    open_requests = {request(prompt) for prompt in prompts}
    for one in open_requests:
        engine.add(one)
    for _ in range(2000):
        for one in step(engine):
            if one.generated == 5:
                engine.remove(one)
                open_requests.discard(one)
    assert not open_requests
