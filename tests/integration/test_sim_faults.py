"""Faults of the whole replica: every switch does what it says, and nothing else."""

from collections.abc import AsyncIterator

import pytest

from gateway.sim import Faults, SimOptions, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, ask, encode
from tests.integration.sim_faulty import LIMITS, PATH, STREAM, is_well, plain, silence, streamed


@pytest.fixture
async def replica() -> AsyncIterator[SimulatedReplica]:
    async with SimulatedReplica(SimOptions("demo", engine=LIMITS)) as replica:
        yield replica


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
