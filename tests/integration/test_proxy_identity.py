"""Keys, ids and headers through a whole data plane."""

import hashlib
from pathlib import Path

import pytest

from gateway.proxy.settings import Settings
from gateway.sim import SimulatedReplica
from gateway.telemetry.access_log import AccessLog
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode
from tests.integration.stand_ins import Tap, chat, sim

CHAT = "/v1/chat/completions"


def received(replica: SimulatedReplica, name: str) -> list[str]:
    """The values of a header in the last request that a replica got."""
    return [value for key, value in replica.requests[-1].headers if key == name]


# -- who asks --

DIGEST = hashlib.sha256(b"client-key").hexdigest()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer client-key"}, 200),
        ({"x_api_key": "client-key"}, 200),
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer caf\xe9"}, 401),
    ],
)
async def test_clients_need_one_of_the_keys(headers: dict[str, str], status: int) -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url]), settings=Settings(client_keys=(DIGEST,))) as front,
    ):
        for method, path, body in (
            ("POST", CHAT, chat()),
            ("GET", "/v1/models", None),
            ("GET", "/v1/models/chat", None),
        ):
            assert (await ask(front.port, method, path, body, **headers)).status == status
        assert (await ask(front.port, "GET", "/health")).status == 200
        assert len(replica.requests) == (status == 200)


async def test_secrets_neither_reach_a_replica_nor_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    async with sim(api_key="replica-key") as replica:
        plan = Plan("chat", [replica.url], keys={replica.url: "Bearer replica-key"})
        async with Front(plan, settings=Settings(client_keys=(DIGEST,))) as front:
            for headers in (
                {"authorization": "Bearer client-key"},
                {"x_api_key": "client-key"},
                {"x_api_key": "no"},
            ):
                await ask(front.port, "POST", CHAT, chat(), **headers)
            assert received(replica, "authorization") == ["Bearer replica-key"]
            assert not any("client-key" in repr(request.headers) for request in replica.requests)
            for record in front.records:
                log.write(record)
    log.close()
    written = (tmp_path / "access.log").read_text() + caplog.text
    assert written.count('"status":200') == 2
    for secret in ("client-key", "replica-key", DIGEST):
        assert secret not in written


async def test_the_client_s_own_authorization_goes_along_where_the_operator_wants_it() -> None:
    settings = Settings(forward_authorization=True)
    async with sim() as a, sim("code", api_key="k") as b:
        plans = Plan("chat", [a.url]), Plan("code", [b.url], keys={b.url: "Bearer k"})
        async with Front(*plans, settings=settings) as front:
            await ask(front.port, "POST", CHAT, chat(), authorization="Bearer mine")
            assert received(a, "authorization") == ["Bearer mine"]
            await ask(front.port, "POST", CHAT, chat(model="code"), authorization="Bearer mine")
            assert received(b, "authorization") == ["Bearer k"]


async def test_an_authorization_that_is_no_text_is_forwarded_byte_by_byte() -> None:
    async with (
        sim() as replica,
        Tap(replica.port) as tap,
        Front(Plan("chat", [tap.url]), settings=Settings(forward_authorization=True)) as front,
        await Client.open(front.port) as client,
    ):
        request = encode("POST", CHAT, chat(), headers={"authorization": "@"})
        client.send(request.replace(b"authorization: @", b"authorization: Bearer \xff\xc3\xa9"))
        assert (await client.reply()).status == 200
        assert b"authorization: Bearer \xff\xc3\xa9\r\n" in tap.sent


async def test_a_fit_request_id_is_kept_and_any_other_is_replaced() -> None:
    async with sim(request_id_headers=True) as replica, Front(Plan("chat", [replica.url])) as front:
        for offered, kept in (("my-id", True), ("x" * 200, False), ("a b", False), (None, False)):
            headers = {} if offered is None else {"x_request_id": offered}
            reply = await ask(front.port, "POST", CHAT, chat(), **headers)
            id_ = reply.header("x-request-id")
            assert (id_ == offered) is kept
            assert received(replica, "x-request-id") == [id_]
            assert reply.header_names.count("x-request-id") == 1
            assert front.records[-1].request_id == id_


async def test_every_answer_has_an_id_and_a_relayed_one_says_by_whom() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        for method, path, body in (("GET", "/v1/models", None), ("GET", "/nope", None), ("POST", CHAT, b"{")):
            assert (await ask(front.port, method, path, body)).header("x-request-id")
        reply = await ask(front.port, "POST", CHAT, chat())
        assert reply.header("x-served-by") == replica.url.removeprefix("http://")


async def test_headers_of_one_hop_end_at_the_gateway() -> None:
    mine = {"connection": "keep-alive, X-Mine", "x-mine": "1", "te": "trailers", "keep-alive": "timeout=5"}
    more = {"x-other": "2", "proxy-authorization": "Basic abc", "expect": "100-continue"}
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        async with await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(), headers=mine | more))
            assert (await client.reply()).status == 100
            assert (await client.reply()).status == 200
        head = tap.sent.partition(b"\r\n\r\n")[0].lower()
        for name in (*mine, "proxy-authorization", "expect"):
            assert f"\r\n{name}:".encode() not in head
        assert b"\r\nx-other: 2" in head
        assert head.count(b"\r\nhost: " + tap.url.removeprefix("http://").encode()) == 1
