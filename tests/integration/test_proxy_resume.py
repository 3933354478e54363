"""A stream whose replica dies goes on from another one, and the client sees a single answer."""

import json
import re
from typing import Any

import pytest

from gateway.fleet.snapshot import Limits, ResumeMode
from gateway.proxy.settings import Settings
from gateway.sim import SimulatedReplica, expected_text
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, Reply, ask, encode, until
from tests.integration.stand_ins import Tap, chat, completion, scripted, sim

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TOKENS = 40
PROMPT = "Tell me something long"
DEATHS = [
    "reset_after_tokens",
    "close_mid_chunk_after_tokens",
    "truncate_after_tokens",
    "error_event_after_tokens",
    "abort_after_tokens",
]


def asked(path: str, **more: Any) -> dict[str, Any]:
    body = {"stream": True, "max_tokens": TOKENS, "temperature": 0, **more}
    return chat(PROMPT, **body) if path == CHAT else completion(PROMPT, **body)


def pool(*replicas: SimulatedReplica, **more: Any) -> Plan:
    """The first replica gets every request as long as it is idle."""
    urls = [replica.url for replica in replicas]
    return Plan("chat", urls, weights=dict.fromkeys(urls[1:], 0.001), resume=ResumeMode.EXACT, **more)


class Stream:
    """What a client makes of a stream."""

    def __init__(self, reply: Reply) -> None:
        assert reply.status == 200
        events = [event.removeprefix(b"data: ") for event in reply.body.split(b"\n\n") if event]
        self.end = reply.end
        self.done = events.count(b"[DONE]")
        self.last_is_done = events[-1] == b"[DONE]"
        self.events = [json.loads(event) for event in events if event != b"[DONE]"]
        self.error = next((event["error"] for event in self.events if "error" in event), None)
        self.events = [event for event in self.events if "error" not in event]
        self.choices = [choice for event in self.events for choice in event["choices"]]

    @property
    def text(self) -> str:
        return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in self.choices)

    @property
    def finishes(self) -> list[str]:
        return [c["finish_reason"] for c in self.choices if c["finish_reason"]]

    @property
    def usage(self) -> dict[str, int] | None:
        return next((event["usage"] for event in self.events if event.get("usage")), None)

    def is_one_answer(self) -> bool:
        """One id, one role, one finish, one end, and nothing between them that was added for resuming."""
        heads = {(event["id"], event["object"], event["created"], event["model"]) for event in self.events}
        roles = sum("role" in choice.get("delta", {}) for choice in self.choices)
        ids = [choice.get("token_ids") for choice in self.choices]
        return (
            self.end == "complete"
            and len(heads) == 1
            and roles == int("delta" in self.choices[0])
            and len(self.finishes) == 1
            and (self.done, self.last_is_done) == (1, True)
            and not any(ids)
        )


def truth(path: str, tokens: int = TOKENS, *, emoji: bool = False, adapter: str | None = None) -> str:
    prompt: Any = [{"role": "user", "content": PROMPT}] if path == CHAT else PROMPT
    return expected_text("chat", adapter, prompt, tokens, emoji=emoji)


@pytest.mark.parametrize("emoji", [False, True])
@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_goes_on_elsewhere_to_the_same_end_wherever_it_was_cut(
    path: str,
    death: str,
    emoji: bool,  # noqa: FBT001
) -> None:
    async with sim(emoji=emoji) as dying, sim(emoji=emoji) as other, Front(pool(dying, other)) as front:
        cuts = (1, 2, 3, 7, 20, TOKENS - 1)
        for k in cuts:
            dying.set_faults(**{death: k}, times=1)
            stream = Stream(
                await ask(front.port, "POST", path, asked(path, stream_options={"include_usage": True}))
            )
            if stream.error is not None:
                # Only a character that the client has half of can be in the way.
                assert emoji, (k, stream.error)
                assert front.count(families.RESUMED, "partial_character") > 0
                continue
            assert stream.text == truth(path, emoji=emoji), k
            assert stream.is_one_answer(), k
            assert stream.finishes == ["length"]
            assert stream.usage is not None
            assert stream.usage["completion_tokens"] == TOKENS
            assert stream.usage["total_tokens"] == stream.usage["prompt_tokens"] + TOKENS
            dying.clear_faults()
        undisturbed = Stream(
            await ask(front.port, "POST", path, asked(path, stream_options={"include_usage": True}))
        )
        assert stream.error or stream.usage == undisturbed.usage
        resumed, stuck = (front.count(families.RESUMED, label) for label in ("resumed", "partial_character"))
        assert resumed + stuck == len(cuts)
        assert front.count(families.BROKEN) == stuck
        assert emoji or not stuck


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "extra", [{}, {"return_token_ids": True}, {"logprobs": True}, {"stream_interval": 3}]
)
async def test_a_client_s_bytes_are_the_same_with_resuming_on_or_off(
    path: str, extra: dict[str, Any]
) -> None:
    if "logprobs" in extra and path == COMPLETIONS:
        extra = {"logprobs": 1}
    async with sim(emoji=True) as replica, Front(pool(replica)) as on:
        body = asked(path, **extra)
        direct = await ask(replica.port, "POST", path, body, x_request_id="same")
        for piece_bytes in (0, 5):
            replica.set_faults(piece_bytes=piece_bytes)
            through = await ask(on.port, "POST", path, body, x_request_id="same")
            assert timeless(through.body) == timeless(direct.body)
        assert on.leftovers().get("resume buffer") is None


def timeless(body: bytes) -> bytes:
    return re.sub(rb'"created":\d+', b'"created":0', body)


async def test_token_ids_are_asked_for_only_where_a_stream_can_be_resumed() -> None:
    async with sim() as replica, Tap(replica.port) as tap:
        plan = Plan("chat", [tap.url], resume=ResumeMode.EXACT)
        async with Front(plan) as front:
            for path, body, wanted in (
                (CHAT, chat(stream=True), True),
                (COMPLETIONS, completion(stream=True), True),
                (CHAT, chat(), False),
                ("/v1/responses", {"model": "chat", "input": "hi", "stream": True}, False),
            ):
                del tap.sent[:]
                assert (await ask(front.port, "POST", path, body)).status == 200
                assert (b'"return_token_ids":true' in tap.sent) is wanted
                head, _, sent = bytes(tap.sent).partition(b"\r\n\r\n")
                assert b"content-length: %d" % len(sent) in head


async def test_an_adapter_s_stream_goes_on_where_the_adapter_is() -> None:
    loras = (("sql", "loras/sql"),)
    async with sim(adapters=loras) as dying, sim() as without, sim(adapters=loras) as other:
        plan = pool(dying, without, other, adapters={"sql": [dying.url, other.url]})
        async with Front(plan) as front:
            dying.set_faults(reset_after_tokens=9)
            stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT, model="sql")))
            assert stream.text == truth(CHAT, adapter="sql")
            assert stream.is_one_answer()
            assert len(without.requests) == 0


async def test_a_stream_goes_on_a_second_time_when_the_second_replica_dies_too() -> None:
    async with sim() as one, sim() as two, sim() as three, Front(pool(one, two, three)) as front:
        one.set_faults(reset_after_tokens=5)
        two.set_faults(reset_after_tokens=5)
        stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT)))
        assert stream.text == truth(CHAT)
        assert stream.is_one_answer()
        assert front.records[0].attempts == 3


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
START = b'data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"chat",'
CHOICE = b'"choices":[{"index":0,"text":"%b","logprobs":null,"finish_reason":%b,"token_ids":[%b]%b}]}\n\n'
ALL_BUT_DONE = START + CHOICE % (b"a", b"null", b"5", b',"prompt_token_ids":[1,2,3]')
ALL_BUT_DONE += START + CHOICE % (b"b", b'"length"', b"6,7", b"")
DEAD_AT_THE_END = HEAD + b"%x\r\n%b\r\n" % (len(ALL_BUT_DONE), ALL_BUT_DONE)


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_that_lacked_only_its_end_is_ended(usage: bool) -> None:  # noqa: FBT001
    async with scripted(DEAD_AT_THE_END) as dying, sim() as other:
        plan = Plan("chat", [dying.url, other.url], weights={other.url: 0.001}, resume=ResumeMode.EXACT)
        async with Front(plan) as front:
            body = asked(COMPLETIONS, **({"stream_options": {"include_usage": True}} if usage else {}))
            stream = Stream(await ask(front.port, "POST", COMPLETIONS, body))
            assert stream.text == "ab"
            assert (stream.end, stream.done, stream.last_is_done) == ("complete", 1, True)
            counts = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
            assert stream.usage == (counts if usage else None)
            assert {event["id"] for event in stream.events} == {"cmpl-1"}
            assert other.requests == []


async def test_where_there_are_several_answers_the_end_of_one_is_not_the_end_of_the_stream() -> None:
    async with (
        scripted(DEAD_AT_THE_END) as dying,
        Front(Plan("chat", [dying.url], resume=ResumeMode.EXACT)) as front,
    ):
        stream = Stream(await ask(front.port, "POST", COMPLETIONS, asked(COMPLETIONS, n=2)))
        assert (stream.end, stream.done) == ("eof", 0)
        assert stream.error is not None
        assert front.count(families.RESUMED, "several_choices") == 1


REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("sampling_seed", {"seed": 7, "temperature": 1}),
    ("penalties", {"presence_penalty": 0.5}),
    ("penalties", {"frequency_penalty": 0.5}),
    ("structured_output", {"response_format": {"type": "json_object"}}),
    ("several_choices", {"n": 2}),
    ("stop_strings", {"stop": ["zzz"]}),
]


@pytest.mark.parametrize(("label", "extra"), REFUSALS)
async def test_what_would_go_on_wrongly_does_not_and_the_metric_says_why(
    label: str, extra: dict[str, Any]
) -> None:
    async with sim() as dying, sim() as other, Front(pool(dying, other)) as front:
        dying.set_faults(reset_after_tokens=9)
        stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT, **extra)))
        assert (stream.end, stream.done) == ("eof", 0)
        assert stream.error is not None
        assert front.count(families.RESUMED, label) == 1
        assert front.count(families.BROKEN) == 1
        assert other.requests == []


@pytest.mark.parametrize("limits", [{"resume_stream_bytes": 20}, {"resume_worker_bytes": 20}])
async def test_a_stream_that_outgrew_its_bound_is_not_resumed_and_nothing_else_changes(
    limits: dict[str, Any],
) -> None:
    async with (
        sim() as dying,
        sim() as other,
        Front(pool(dying, other), settings=Settings(**limits)) as front,
    ):
        assert Stream(await ask(front.port, "POST", CHAT, asked(CHAT))).is_one_answer()
        dying.set_faults(reset_after_tokens=30)
        stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT)))
        assert stream.error is not None
        assert front.count(families.RESUMED, "buffer_full") == 1


async def test_with_nobody_left_to_go_on_the_stream_ends_in_an_error() -> None:
    async with sim() as only, Front(pool(only)) as front:
        only.set_faults(reset_after_tokens=9)
        stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT)))
        assert stream.error is not None
        assert front.count(families.RESUMED, "no_replica") == 1


async def test_with_no_room_to_go_on_the_stream_ends_in_an_error_and_not_without_a_word() -> None:
    async with sim() as dying, sim() as other:
        limits = Limits(outstanding_per_replica=1, queue=0)
        async with Front(pool(dying, limits=limits)) as front, await Client.open(front.port) as busy:
            other.set_faults(freeze=True)
            front.show(pool(other, limits=limits))
            busy.send(encode("POST", CHAT, asked(CHAT)))
            await until(lambda: front.outstanding(other.url) == 1)
            front.show(pool(dying, other, limits=limits))
            dying.set_faults(reset_after_tokens=9)
            stream = Stream(await ask(front.port, "POST", CHAT, asked(CHAT)))
            assert stream.error is not None
            assert front.count(families.BROKEN) == 1


async def test_a_client_that_leaves_while_its_stream_moves_closes_the_second_replica_too() -> None:
    async with sim() as dying, sim() as other, Front(pool(dying, other)) as front:
        dying.set_faults(reset_after_tokens=9)
        other.set_faults(stall_after_tokens=5)
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, asked(CHAT)))
            await until(lambda: other.running == 1)
        await until(lambda: other.state.aborted == 1, 1.0)
        await until(lambda: bool(front.records))
        assert front.records[0].outcome == "client_gone"
