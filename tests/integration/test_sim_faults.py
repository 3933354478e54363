"""Every fault switch does what it says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, Faults, SimOptions, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, Reply, ask, encode, until

LIMITS = EngineLimits(step_s=0.001, prefill_tokens_per_s=0)
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
PATH = "/v1/completions"
BODY = {"prompt": "x", "max_tokens": 10}
STREAM = {**BODY, "stream": True}


@pytest.fixture
async def replica() -> AsyncIterator[SimulatedReplica]:
    async with SimulatedReplica(SimOptions("demo", engine=LIMITS)) as replica:
        yield replica


async def streamed(replica: SimulatedReplica) -> Reply:
    return await ask(replica.port, "POST", PATH, STREAM)


async def plain(replica: SimulatedReplica) -> Reply:
    return await ask(replica.port, "POST", PATH, BODY)


async def is_well(replica: SimulatedReplica) -> bool:
    reply = await streamed(replica)
    return (reply.end, reply.text) == ("complete", expected_text("demo", None, "x", 10))


async def test_refuse_closes_the_port_and_idle_connections_and_opens_again(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as idle:
        await idle.ask("GET", "/health")
        for _ in range(3):
            replica.set_faults(refuse=True)
            assert await idle.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await ask(replica.port, "GET", "/health")
            replica.clear_faults()
            assert await is_well(replica)


async def test_refuse_lets_running_requests_finish(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, STREAM))
        await client.head()
        replica.set_faults(refuse=True)
        while await client.chunk():
            pass


async def test_refusing_from_the_start_and_by_request(replica: SimulatedReplica) -> None:
    async with SimulatedReplica(SimOptions("demo", faults=Faults(refuse=True))) as refusing:
        with pytest.raises(ConnectionRefusedError):
            await ask(refusing.port, "GET", "/health")
    reply = await ask(replica.port, "POST", "/sim/faults", {"refuse": True})
    assert reply.json["refuse"] is True
    with pytest.raises(ConnectionRefusedError):
        await ask(replica.port, "GET", "/health")


async def test_terminating_refuses_and_leaves_running_requests_without_a_byte(
    replica: SimulatedReplica,
) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, {**STREAM, "max_tokens": 1000}))
        await client.head()
        await client.chunk()
        replica.set_faults(terminating=True)
        with pytest.raises(ConnectionRefusedError):
            await ask(replica.port, "GET", "/health")
        await silence(client)
        assert replica.running == 1


async def silence(client: Client, for_s: float = 0.05) -> None:
    """Take what is on its way, then make sure that nothing more comes and nothing closes."""
    try:
        while data := await asyncio.wait_for(client.reader.read(1 << 16), for_s):
            assert data
    except TimeoutError:
        return
    pytest.fail("the connection was closed")


async def test_a_frozen_engine_answers_health_while_nothing_moves(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, {**STREAM, "max_tokens": 300}))
        await client.head()
        await client.chunk()
        replica.set_faults(freeze=True)
        before = replica.state.clock.published
        async with await Client.open(replica.port) as newcomer:
            newcomer.send(encode("POST", PATH, STREAM))
            assert (await newcomer.head()).startswith(b"HTTP/1.1 200")
            await silence(newcomer)
            await silence(client)
            assert (await ask(replica.port, "GET", "/health")).status == 200
            assert (await ask(replica.port, "GET", "/v1/models")).status == 200
            assert replica.state.clock.published == before, "metrics stand still"
            replica.clear_faults()
            while await newcomer.chunk():
                pass
        while await client.chunk():
            pass
    assert await is_well(replica)


async def test_hang_freezes_the_whole_engine_when_a_stream_gets_there(replica: SimulatedReplica) -> None:
    replica.set_faults(hang_after_tokens=4)
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, STREAM))
        await client.head()
        for _ in range(4):
            await client.chunk()
        await silence(client)
        assert replica.faults.freeze
        assert (await ask(replica.port, "GET", "/health")).status == 200
        replica.set_faults(freeze=False)
        rest = [await client.chunk() for _ in range(6)]
        assert all(rest)
        assert await client.chunk() == b"data: [DONE]\n\n"


async def test_stall_silences_one_stream_and_the_engine_goes_on(replica: SimulatedReplica) -> None:
    replica.set_faults(stall_after_tokens=3, times=1)
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, STREAM))
        await client.head()
        for _ in range(3):
            await client.chunk()
        await silence(client)
        assert await is_well(replica)


async def test_drain_finishes_what_runs_and_refuses_what_is_new(replica: SimulatedReplica) -> None:
    async with await Client.open(replica.port) as client:
        client.send(encode("POST", PATH, STREAM))
        await client.head()
        replica.set_faults(drain=True)
        for reply in (await plain(replica), await streamed(replica)):
            assert reply.status == 500
            assert reply.json == {
                "error": {
                    "message": "cannot schedule new futures after shutdown",
                    "type": "InternalServerError",
                    "param": None,
                    "code": 500,
                }
            }
        assert (await ask(replica.port, "GET", "/health")).status == 200
        while await client.chunk():
            pass


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_status_answers_inference_only(replica: SimulatedReplica, status: int) -> None:
    replica.set_faults(status=status, retry_after="7")
    reply = await streamed(replica)
    assert (reply.status, reply.json["error"]["code"], reply.header("retry-after")) == (status, status, "7")
    assert (await ask(replica.port, "GET", "/health")).status == 200
    assert (await ask(replica.port, "GET", "/v1/models")).status == 200


async def test_health_can_be_bad_slow_or_silent(replica: SimulatedReplica) -> None:
    replica.set_faults(health_status=503)
    reply = await ask(replica.port, "GET", "/health")
    assert (reply.status, reply.body) == (503, b"")
    replica.set_faults(health_status=None, health_delay_s=0.05)
    assert (await ask(replica.port, "GET", "/health")).status == 200
    replica.set_faults(health_hang=True)
    async with await Client.open(replica.port) as client:
        client.send(encode("GET", "/health"))
        await silence(client)
    assert await is_well(replica)


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


async def test_pieces_carry_the_same_bytes(replica: SimulatedReplica) -> None:
    for changes in ({"piece_bytes": 7}, {"piece_bytes": 200, "piece_delay_s": 0.0005}):
        replica.clear_faults()
        replica.set_faults(**changes)
        assert await is_well(replica)
        assert (await plain(replica)).text == expected_text("demo", None, "x", 10)
    replica.clear_faults()
    assert await is_well(replica)


async def test_padding_makes_events_long_and_changes_no_text(replica: SimulatedReplica) -> None:
    replica.set_faults(pad_bytes=5000)
    reply = await streamed(replica)
    assert all(len(chunk) > 5000 for chunk in reply.chunks[:10])
    assert reply.text == expected_text("demo", None, "x", 10)


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


async def test_faults_are_set_changed_shown_and_cleared_over_http(replica: SimulatedReplica) -> None:
    await ask(replica.port, "POST", "/sim/faults", {"status": 503, "times": 5})
    shown = (await ask(replica.port, "POST", "/sim/faults", {"times": None})).json
    assert (shown["status"], shown["times"]) == (503, None)
    refused = await ask(replica.port, "POST", "/sim/faults", {"no_such": 1})
    assert (refused.status, "'no_such' is not a fault" in refused.json["error"]["message"]) == (400, True)
    refused = await ask(replica.port, "POST", "/sim/faults", {"status": "bad"})
    assert refused.json["error"]["message"] == "fault status takes int, not 'bad'"
    assert (await ask(replica.port, "GET", "/sim/faults")).json["status"] == 503
    await ask(replica.port, "DELETE", "/sim/faults")
    assert replica.faults == Faults()
    assert await is_well(replica)


async def test_a_restart_forgets_everything_but_the_port(replica: SimulatedReplica) -> None:
    port = replica.port
    body = {"lora_name": "late", "lora_path": "x"}
    await ask(port, "POST", "/v1/load_lora_adapter", body)
    async with await Client.open(port) as client:
        client.send(encode("POST", PATH, {**STREAM, "max_tokens": 1000}))
        await client.head()
        replica.stop()
        assert (await client.reply()).end in ("eof", "reset")
    with pytest.raises(ConnectionRefusedError):
        await ask(port, "GET", "/health")
    await replica.start()
    assert replica.port == port
    names = [card["id"] for card in (await ask(port, "GET", "/v1/models")).json["data"]]
    assert names == ["demo"]
    assert replica.running == 0
