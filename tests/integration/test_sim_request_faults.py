"""Faults that strike single requests: every switch does what it says, and nothing else."""

from collections.abc import AsyncIterator

import pytest

from gateway.sim import SimOptions, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.sim_faulty import BODY, LIMITS, PATH, STREAM, is_well, plain, silence, streamed

DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


@pytest.fixture
async def replica() -> AsyncIterator[SimulatedReplica]:
    async with SimulatedReplica(SimOptions("demo", engine=LIMITS)) as replica:
        yield replica


async def test_stall_silences_one_stream_and_the_engine_goes_on(replica: SimulatedReplica) -> None:
    replica.set_faults(stall_after_tokens=3, times=1)
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, STREAM))
        await client.head()
        for _ in range(3):
            await client.chunk()
        await silence(client)
        assert await is_well(replica)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_status_answers_inference_only(replica: SimulatedReplica, status: int) -> None:
    replica.set_faults(status=status, retry_after="7")
    reply = await streamed(replica)
    assert (reply.status, reply.json["error"]["code"], reply.header("retry-after")) == (status, status, "7")
    assert (await ask(replica.port, "GET", "/health")).status == 200
    assert (await ask(replica.port, "GET", "/v1/models")).status == 200


async def test_a_late_head_and_a_late_first_byte_are_two_things(replica: SimulatedReplica) -> None:
    for fault, head_comes in (("first_byte_delay_s", True), ("head_delay_s", False)):
        replica.clear_faults()
        replica.set_faults(**{fault: 0.2})
        async with await Client.open(replica.port) as client:
            client.send(encode("POST", PATH, STREAM))
            if head_comes:
                await client.head()
            await silence(client, 0.05)
        await until(lambda: replica.running == 0)


async def test_reset_after_tokens_resets(replica: SimulatedReplica) -> None:
    replica.set_faults(reset_after_tokens=5)
    reply = await streamed(replica)
    assert reply.end == "reset"
    assert len(reply.chunks) == 5
    assert (await plain(replica)).end == "reset"
    assert replica.state.aborted == 0, "nobody left"


async def test_close_mid_chunk_ends_inside_a_chunk(replica: SimulatedReplica) -> None:
    replica.set_faults(close_mid_chunk_after_tokens=5)
    reply = await streamed(replica)
    assert (reply.end, len(reply.chunks)) == ("eof", 5)
    assert reply.raw.startswith(b"data: ")
    reply = await plain(replica)
    assert (reply.end, reply.head) == ("eof", b"")


async def test_truncate_ends_cleanly_without_done(replica: SimulatedReplica) -> None:
    replica.set_faults(truncate_after_tokens=5)
    reply = await streamed(replica)
    assert (reply.end, len(reply.chunks)) == ("complete", 5)
    assert "[DONE]" not in reply.events
    assert (await plain(replica)).end == "eof", "shorter than its content-length"


async def test_the_error_event_has_vllm_s_spaces_and_its_false_end(replica: SimulatedReplica) -> None:
    replica.set_faults(error_event_after_tokens=5)
    reply = await streamed(replica)
    assert reply.end == "complete"
    rest = '"type": "InternalServerError", "param": null, "code": 500'
    assert reply.chunks[5:] == [
        f'data: {{"error": {{"message": "{DEAD}", {rest}}}}}\n\n'.encode(),
        b"data: [DONE]\n\n",
    ]
    reply = await plain(replica)
    assert (reply.status, reply.json["error"]["type"]) == (500, "InternalServerError")


async def test_an_abort_looks_like_a_normal_end(replica: SimulatedReplica) -> None:
    replica.set_faults(abort_after_tokens=5)
    reply = await streamed(replica)
    assert (reply.finish_reason, reply.events[-1]) == ("abort", "[DONE]")
    assert reply.text == expected_text("demo", None, "x", 5)
    reply = await plain(replica)
    assert reply.json["choices"][0]["finish_reason"] == "abort"
    assert reply.text == expected_text("demo", None, "x", 5)
    assert replica.state.finished["abort"] == 2


async def test_a_fault_after_no_token_strikes_before_the_first(replica: SimulatedReplica) -> None:
    for fault in ("reset_after_tokens", "truncate_after_tokens", "error_event_after_tokens"):
        replica.clear_faults()
        replica.set_faults(**{fault: 0})
        reply = await streamed(replica)
        assert reply.status == 200
        assert not reply.choices


async def test_a_cut_inside_a_character_leaves_half_of_it() -> None:
    async with SimulatedReplica(SimOptions("demo", engine=LIMITS, emoji=True)) as replica:
        replica.set_faults(cut_in_character_after_tokens=3)
        reply = await ask(replica.port, "POST", PATH, {**STREAM, "max_tokens": 500})
    assert reply.end == "eof"
    assert len(reply.chunks) >= 3
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        reply.raw.decode()


async def test_garbage_instead_of_a_status_line(replica: SimulatedReplica) -> None:
    replica.set_faults(garbage_status_line=True)
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, BODY))
        assert not (await client.rest()).startswith(b"HTTP/")


async def test_a_wrong_content_length_is_off_by_what_was_asked(replica: SimulatedReplica) -> None:
    for delta in (7, -7):
        replica.set_faults(content_length_delta=delta)
        async with await Client.open(replica.port) as client:
            client.send(encode("POST", PATH, BODY))
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert f"content-length: {len(body) + delta}".encode() in head


async def test_endless_headers_go_on_until_the_client_leaves(replica: SimulatedReplica) -> None:
    replica.set_faults(endless_headers=True)
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, BODY))
        data = await client.reader.readexactly(20_000)
    assert b"\r\n\r\n" not in data
    assert data.startswith(b"HTTP/1.1 200 OK\r\nx-endless-0: again\r\n")


async def test_junk_after_the_end(replica: SimulatedReplica) -> None:
    replica.set_faults(event_after_done=True)
    assert (await streamed(replica)).events[-2:] == ["[DONE]", {"late": True}]
    replica.clear_faults()
    replica.set_faults(bytes_after_end=True)
    for body in (STREAM, BODY):
        async with await Client.open(replica.port) as client:
            reply = await client.ask("POST", PATH, body)
            assert reply.text == expected_text("demo", None, "x", 10)
            assert (await client.reader.read(5)) == b"HTTP/"


async def test_times_strikes_the_next_requests_only(replica: SimulatedReplica) -> None:
    replica.set_faults(status=503, times=2)
    assert [(await plain(replica)).status for _ in range(4)] == [503, 503, 200, 200]
    replica.set_faults(times=1)
    assert [(await plain(replica)).status for _ in range(2)] == [503, 200]


async def test_probability_draws_the_same_from_the_same_seed(replica: SimulatedReplica) -> None:
    rows = []
    for seed in (1, 1, 2):
        replica.set_faults(status=503, probability=0.5, seed=seed)
        rows.append([(await plain(replica)).status for _ in range(20)])
    assert rows[0] == rows[1] != rows[2]
    assert set(rows[0]) == {200, 503}
