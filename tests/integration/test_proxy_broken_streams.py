"""Streams that break never look complete."""

import pytest

from gateway.fleet.snapshot import Timeouts
from gateway.sim import EngineLimits
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Reply, ask, until
from tests.integration.stand_ins import chat, scripted, sim

CHAT = "/v1/chat/completions"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


SLOW = EngineLimits(step_s=0.02, prefill_tokens_per_s=0)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# -- what breaks --


async def broken(replica_url: str, body: dict[str, object], path: str = CHAT) -> tuple[Reply, Front]:
    async with Front(Plan("chat", [replica_url])) as front:
        return await ask(front.port, "POST", path, body), front


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset_after_tokens", "reset"),
        ("close_mid_chunk_after_tokens", "closed"),
        ("cut_in_character_after_tokens", "closed"),
        ("truncate_after_tokens", "without its end marker"),
        ("error_event_after_tokens", "EngineCore encountered an issue"),
        ("abort_after_tokens", "aborted"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 1000])
async def test_a_stream_that_breaks_ends_in_an_error_event_and_never_looks_complete(
    fault: str, error: str, piece_bytes: int
) -> None:
    async with sim(emoji=True) as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(**{fault: 5}, piece_bytes=piece_bytes)
        reply = await ask(front.port, "POST", CHAT, chat(stream=True, max_tokens=200))
        assert (reply.status, reply.end) == (200, "eof")
        *events, last = [event for chunk in reply.chunks for event in chunk.split(b"\n\n") if event]
        assert DONE.strip() not in events
        assert last.startswith(b'data: {"error"')
        assert error.encode() in last
        assert all(event.startswith(b'data: {"id"') and event.endswith(b"}") for event in events)
        assert front.records[0].outcome == "broken"
        assert front.count(families.BROKEN) == 1
        assert front.count(families.REQUESTS, "200") == 1


async def test_a_stream_cut_inside_an_event_does_not_spoil_the_error_event() -> None:
    begun = STREAM_HEAD + chunk(b'data: {"id":1}\n\ndata: {"id"') + b"0\r\n\r\n"
    async with scripted(begun) as replica:
        reply, _ = await broken(replica.url, chat(stream=True))
        events = [event for event in reply.body.split(b"\n\n") if event]
        assert events[0] == b'data: {"id":1}'
        assert events[-1].startswith(b'data: {"error"')
        assert len(events) == 2


async def test_an_end_marker_inside_a_text_is_no_end() -> None:
    text = b'data: {"text":"data: [DONE]\\n\\n \\"error\\" data: {\\"error\\""}\n\n'
    async with scripted(STREAM_HEAD + chunk(text) + b"0\r\n\r\n") as replica:
        reply, front = await broken(replica.url, chat(stream=True))
        assert reply.body.startswith(text)
        assert front.records[0].outcome == "broken"


async def test_a_stream_whose_end_marker_came_is_complete_even_if_its_framing_is_cut() -> None:
    async with scripted(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(DONE)) as replica:
        reply, front = await broken(replica.url, chat(stream=True))
        assert (reply.body, reply.end) == (b"data: 1\n\n" + DONE, "complete")
        assert front.records[0].outcome == "complete"


async def test_an_event_after_the_end_marker_reaches_nobody() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(event_after_done=True)
        for _ in range(3):
            reply = await ask(front.port, "POST", CHAT, chat(stream=True))
            assert reply.end == "complete"
            assert reply.body.endswith(DONE)


async def test_a_stream_of_an_unknown_route_needs_no_end_marker() -> None:
    async with scripted(STREAM_HEAD + chunk(b"data: 1\n\n") + b"0\r\n\r\n") as replica:
        reply, _ = await broken(replica.url, {"model": "chat"}, "/v1/new")
        assert (reply.body, reply.end) == (b"data: 1\n\n", "complete")


async def test_silence_in_the_middle_of_a_stream_ends_at_the_idle_limit() -> None:
    async with sim() as replica:
        replica.set_faults(stall_after_tokens=3)
        plan = Plan("chat", [replica.url], timeouts=Timeouts(idle_s=0.3))
        async with Front(plan) as front:
            reply = await ask(front.port, "POST", CHAT, chat(stream=True))
            assert reply.end == "eof"
            assert b'"GatewayTimeoutError"' in reply.body
            await until(lambda: replica.state.aborted == 1, 1.0)


async def test_an_answer_that_takes_longer_than_the_total_limit_is_ended() -> None:
    async with sim(engine=SLOW) as replica:
        plan = Plan("chat", [replica.url], timeouts=Timeouts(total_s=0.3))
        async with Front(plan) as front:
            streamed = await ask(front.port, "POST", CHAT, chat(stream=True, max_tokens=10_000))
            assert b'"GatewayTimeoutError"' in streamed.body
            plain = await ask(front.port, "POST", CHAT, chat(max_tokens=10_000))
            assert (plain.status, plain.header("x-gateway-error")) == (504, "total_timeout")


@pytest.mark.parametrize("delta", [5, -5])
async def test_a_wrong_content_length_never_looks_like_the_whole_answer(delta: int) -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(content_length_delta=delta, times=1)
        reply = await ask(front.port, "POST", CHAT, chat(max_tokens=3))
        assert reply.end == ("eof" if delta > 0 else "complete")
        # Whatever was left on that connection is not taken for the next answer.
        assert (await ask(front.port, "POST", CHAT, chat(max_tokens=3))).json["object"] == "chat.completion"
