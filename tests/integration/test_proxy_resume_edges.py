"""Resuming where it is delicate: merged tokens, the text mode, replicas that restart in turn, odd answers."""

import asyncio
import json
from typing import Any

import pytest

from gateway.fleet.snapshot import Ejection, ResumeMode, Retries
from gateway.proxy.settings import Settings
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import ask, until
from tests.integration.stand_ins import Tap, completion, scripted, sim
from tests.integration.test_proxy_resume import (
    CHAT,
    COMPLETIONS,
    DEATHS,
    PROMPT,
    TOKENS,
    Stream,
    asked,
    pool,
    truth,
)

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"


def text_pool(*urls: str) -> Plan:
    return Plan("chat", urls, weights=dict.fromkeys(urls[1:], 0.001), resume=ResumeMode.TEXT)


# -- events of several tokens --


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_cut_behind_merged_tokens_is_never_inside_a_character(path: str) -> None:
    async with sim(emoji=True) as dying, sim(emoji=True) as other, Front(pool(dying, other)) as front:
        for k in range(1, TOKENS, 2):
            dying.set_faults(close_mid_chunk_after_tokens=k, times=1)
            stream = Stream(await ask(front.port, "POST", path, asked(path, stream_interval=4)))
            assert stream.text == truth(path, emoji=True), k
            assert stream.is_one_answer(), k
        assert front.count(families.BROKEN) == 0
        assert any(request.path == "/detokenize" for request in other.requests)


async def test_where_one_replica_does_not_say_whether_a_character_is_whole_another_one_is_asked() -> None:
    async with (
        sim(emoji=True) as dying,
        scripted(b"HTTP/1.1 404 Nope\r\ncontent-length: 2\r\n\r\n{}") as silent,
        sim(emoji=True) as other,
    ):
        dying.set_faults(close_mid_chunk_after_tokens=9, times=1)
        weights = {dying.url: 100.0, silent.url: 10.0, other.url: 1.0}
        plan = Plan("chat", list(weights), weights=weights, resume=ResumeMode.EXACT)
        async with Front(plan) as front:
            stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT, stream_interval=4)))
            assert stream.text == truth(CHAT, emoji=True)
            assert len(silent.requests) == 1
            assert front.count(families.RESUMED, "resumed") == 1


async def test_where_nobody_says_whether_a_character_is_whole_the_stream_ends_in_an_error() -> None:
    event = (
        b'data: {"id":"c","object":"text_completion","created":7,"model":"chat","choices":[{"index":0,'
        b'"text":"a","logprobs":null,"finish_reason":null,"token_ids":[5,6],"prompt_token_ids":[1]}]}\n\n'
    )
    dead = HEAD % b"text/event-stream" + b"%x\r\n%b\r\n" % (len(event), event)
    async with (
        scripted(dead) as dying,
        scripted(b"HTTP/1.1 404 Nope\r\ncontent-length: 2\r\n\r\n{}") as other,
    ):
        plan = Plan("chat", [dying.url, other.url], weights={other.url: 0.001}, resume=ResumeMode.EXACT)
        async with Front(plan) as front:
            stream = Stream(await ask(front.port, "POST", COMPLETIONS, asked(COMPLETIONS)))
            assert stream.error is not None
            assert front.count(families.RESUMED, "partial_character") == 1


# -- from the text so far --


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_in_mode_text_a_stream_goes_on_and_nothing_was_added_to_its_request(
    path: str, death: str
) -> None:
    async with sim() as dying, sim() as other, Tap(dying.port) as tap:
        plan = text_pool(tap.url, other.url)
        async with Front(plan) as front:
            for k in (1, 2, 9, TOKENS - 1):
                dying.set_faults(**{death: k}, times=1)
                del tap.sent[:]
                body = asked(path, stream_options={"include_usage": True})
                stream = Stream(await ask(front.port, "POST", path, body))
                assert json.loads(tap.sent.partition(b"\r\n\r\n")[2]) == body
                assert stream.text == truth(path), k
                assert stream.is_one_answer()
                assert stream.usage is not None
                assert stream.usage["completion_tokens"] == TOKENS
            assert front.count(families.RESUMED, "resumed") == 4


@pytest.mark.parametrize(
    ("label", "path", "extra"),
    [
        ("unsupported_request", COMPLETIONS, {"prompt": [72, 105]}),
        ("unsupported_request", CHAT, {"add_generation_prompt": False}),
        ("unsupported_request", CHAT, {"truncate_prompt_tokens": 100}),
        ("stop_strings", CHAT, {"stop": ["zzz"]}),
        ("sampling_seed", CHAT, {"seed": 7, "temperature": 1}),
    ],
)
async def test_in_mode_text_what_can_not_go_on_is_refused(
    label: str, path: str, extra: dict[str, Any]
) -> None:
    async with sim() as dying, sim() as other, Front(text_pool(dying.url, other.url)) as front:
        dying.set_faults(reset_after_tokens=9)
        stream = Stream(await ask(front.port, "POST", path, {**asked(path), **extra}))
        assert stream.error is not None
        assert front.count(families.RESUMED, label) == 1
        assert other.requests == []


# -- more than one death --


async def test_with_two_replicas_that_restart_in_turn_the_first_one_goes_on_again() -> None:
    async with sim() as one, sim() as two, Front(pool(one, two)) as front:
        one.set_faults(reset_after_tokens=5, times=1)
        two.set_faults(reset_after_tokens=5, times=1)
        stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT)))
        assert stream.text == truth(CHAT)
        assert stream.is_one_answer()


async def test_a_request_that_kills_whoever_answers_it_does_not_go_round_for_ever() -> None:
    async with sim() as one, sim() as two, Front(pool(one, two), retries=Retries(attempts=3)) as front:
        one.set_faults(reset_after_tokens=2)
        two.set_faults(reset_after_tokens=2)
        stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT)))
        assert stream.error is not None
        assert len(one.requests) + len(two.requests) == 4


async def test_streams_wait_for_a_doubted_replica_rather_than_all_at_once_or_not_at_all() -> None:
    """The other replica failed a request a moment ago, so that it is asked by one at a time for now."""
    slow = EngineLimits(step_s=0.01, prefill_tokens_per_s=0)
    ejection = Ejection(consecutive_failures=100, penalty_s=0.5)
    retries = Retries(budget=0.0, min_concurrent=1)
    async with sim(engine=slow) as dying, sim(engine=slow) as other:
        plan = pool(dying, other)
        async with Front(plan, ejection=ejection, retries=retries) as front:
            asking = [asyncio.ensure_future(ask(front.port, "POST", CHAT, asked(CHAT))) for _ in range(5)]
            await until(lambda: dying.running == 5 and all(a.generated > 2 for a in dying.state.answers))
            front.planes[0].fleet.pools["chat"].replicas[other.url].failed(ejection)
            dying.stop()
            for reply in await asyncio.gather(*asking):
                assert Stream(reply).text == truth(CHAT)
            assert front.count(families.RESUMED, "resumed") == 5


# -- answers that are not what was asked for --


async def test_of_several_answers_the_first_one_s_end_is_not_the_end() -> None:
    async with sim() as dying, sim() as other, Front(pool(dying, other)) as front:
        body = completion(["hi", "ho"], stream=True, max_tokens=4)  # type: ignore[arg-type]
        dying.set_faults(reset_after_tokens=7)
        stream = Stream(await ask(front.port, "POST", COMPLETIONS, body))
        assert stream.finishes == ["length"]
        assert (stream.done, stream.error is not None) == (0, True)
        assert front.count(families.RESUMED, "several_choices") == 1


async def test_a_cut_answer_that_is_no_stream_gets_no_event_behind_it() -> None:
    cut = HEAD % b"application/json" + b'8\r\n{"a": 12\r\n'
    async with scripted(cut) as dying, sim() as other:
        plan = Plan("chat", [dying.url, other.url], weights={other.url: 0.001}, resume=ResumeMode.EXACT)
        async with Front(plan) as front:
            reply = await ask(front.port, "POST", CHAT, asked(CHAT))
            assert (reply.body, reply.end) == (b'{"a": 12', "eof")


async def test_a_request_with_an_odd_wish_for_ids_reaches_the_replica_as_it_is() -> None:
    async with sim() as replica, Tap(replica.port) as tap:
        plan = Plan("chat", [tap.url], resume=ResumeMode.EXACT)
        async with Front(plan) as front:
            body = asked(CHAT, return_token_ids=1)
            through = await ask(front.port, "POST", CHAT, body)
            assert json.loads(tap.sent.partition(b"\r\n\r\n")[2]) == body
            assert any(choice["token_ids"] for choice in Stream(through).choices[1:])


async def test_a_prompt_that_is_too_long_to_keep_is_not_asked_for_its_ids() -> None:
    async with sim() as dying, sim() as other, Tap(dying.port) as tap:
        plan = Plan("chat", [tap.url, other.url], weights={other.url: 0.001}, resume=ResumeMode.EXACT)
        async with Front(plan, settings=Settings(resume_stream_bytes=1000)) as front:
            dying.set_faults(reset_after_tokens=5)
            body = completion(PROMPT * 100, stream=True, max_tokens=9)
            stream = Stream(await ask(front.port, "POST", COMPLETIONS, body))
            assert stream.error is not None
            assert b"return_token_ids" not in tap.sent
            assert front.count(families.RESUMED, "buffer_full") == 1
