"""The admin listener over real sockets, in front of a control plane made of plain values."""

import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from gateway.config import Address
from gateway.control.admin.guard import Access
from gateway.control.admin.listener import start
from gateway.control.admin.status import Status
from gateway.telemetry.families import OUTSTANDING, QUEUE_DEPTH
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, Shared
from gateway.telemetry.scoreboard import NS, Scoreboard
from tests.integration.plain_fleet import LAYOUT, A, B, C, Fleet, fleet_of_three

LOOPBACK = Address("127.0.0.1", 9090)
EVERYWHERE = Address("0.0.0.0", 9090)
TOKEN = "correct horse battery staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BASIC = {"Authorization": f"Basic {b64encode(f'anyone:{TOKEN}'.encode()).decode()}"}


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    board = Scoreboard.create(LAYOUT)
    yield fleet_of_three(board)
    board.close()


@dataclass
class Client:
    """Requests to one admin listener."""

    base: str
    session: ClientSession

    async def get(self, path: str, **options: Any) -> tuple[int, str, dict[str, str]]:
        async with self.session.get(self.base + path, **options) as response:
            return response.status, await response.text(), dict(response.headers)

    async def status(self) -> Status:
        return msgspec.json.decode((await self.get("/api/status"))[1], type=Status)

    async def post(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.post(self.base + path, **options) as response:
            return response.status, await response.json()


Open = Callable[[Access], Awaitable[Client]]


@pytest.fixture
async def opened(fleet: Fleet) -> AsyncIterator[Open]:
    runners = []
    async with ClientSession() as session:

        async def open_one(access: Access) -> Client:
            listening = socket.create_server(("127.0.0.1", 0))
            runners.append(await start(fleet, access, listening))
            return Client(f"http://127.0.0.1:{listening.getsockname()[1]}", session)

        yield open_one
        for runner in runners:
            await runner.cleanup()


@pytest.fixture
async def client(opened: Open) -> Client:
    return await opened(Access(LOOPBACK))


# -- status --


async def test_status_tells_pools_replicas_and_their_load(fleet: Fleet, client: Client) -> None:
    for worker in (0, 1):
        fleet.board.cells[LAYOUT.replica(worker, 0) + REPLICA_OFFSETS[OUTSTANDING.name]] = 2
        fleet.board.cells[LAYOUT.pool(worker, 1) + POOL_OFFSETS[QUEUE_DEPTH.name]] = 3
    status = await client.status()
    (pool,) = status.pools
    assert (pool.name, pool.usable, pool.outstanding, pool.queue_depth) == ("chat", 2, 4, 6)
    first, second, third = status.replicas
    assert (first.url, first.condition, first.outstanding, first.pools) == (A, "up", 4, ("chat",))
    assert first.engine is not None
    assert (first.engine.running, first.engine.waiting, first.engine.kv_usage) == (3, 1, 0.5)
    assert (second.url, second.condition, second.pools, second.engine) == (B, "refused", (), None)
    assert third.url == C


async def test_status_tells_what_each_name_is(client: Client) -> None:
    models = {model.name: model for model in (await client.status()).models}
    kinds = {name: model.kind for name, model in models.items()}
    assert kinds == {"chat": "model", "gpt-4o": "alias", "chat-sql": "adapter", "sql": "alias"}
    assert models["sql"].parent == "chat"
    assert models["chat"].max_model_len == 4096


async def test_status_tells_workers_events_and_warnings(client: Client) -> None:
    status = await client.status()
    assert [(w.index, w.pid, w.restarts) for w in status.workers] == [(0, 4711, 0), (1, None, 2)]
    assert [event.message for event in status.events] == ["2", "1"]
    assert status.warnings == ("http://10.0.0.2:8000 serves other, not chat.",)
    assert (status.version, status.snapshot) == ("9.9", 4)


async def test_an_ejected_replica_says_for_how_long(fleet: Fleet, client: Client) -> None:
    fleet.board.cells[LAYOUT.shared(0) + Shared.EJECTED_UNTIL] = 2**62
    first = (await client.status()).replicas[0]
    assert first.condition == "ejected"
    assert first.ejected_for_s == pytest.approx(2**62 / NS, rel=0.01)
    assert first.state == "up"


async def test_a_replica_whose_ejection_ran_out_is_on_trial(fleet: Fleet, client: Client) -> None:
    fleet.board.cells[LAYOUT.shared(0) + Shared.EJECTION_ROUND] = 1
    status = await client.status()
    assert (status.replicas[0].condition, status.replicas[0].ejected_for_s) == ("trial", 0)
    assert status.pools[0].usable == 1


async def test_the_page_brings_its_own_policy_and_no_outside_resource(client: Client) -> None:
    status, page, headers = await client.get("/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert "http://" not in page
    assert "https://" not in page


# -- metrics and targets --


async def test_metrics_come_in_both_formats(client: Client) -> None:
    status, text, headers = await client.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert f'vllm_gateway_replica_up{{model="chat",replica="{A}"}} 1.0' in text
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    _, text, headers = await client.get("/metrics", headers=accept)
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_targets_are_what_prometheus_service_discovery_reads(client: Client) -> None:
    _, text, headers = await client.get("/api/targets")
    assert headers["Content-Type"].startswith("application/json")
    first, second = msgspec.json.decode(text)
    assert first == {
        "targets": ["10.0.0.1:8000"],
        "labels": {"__scheme__": "http", "__metrics_path__": "/metrics", "model": "chat", "replica": A},
    }
    assert second["targets"] == ["10.0.0.3:443"]
    assert second["labels"]["__scheme__"] == "https"
    assert second["labels"]["__metrics_path__"] == "/vllm/metrics"


async def test_healthz_is_short(client: Client) -> None:
    assert (await client.get("/healthz"))[:2] == (200, '{"status":"ok"}')


# -- drain and reload --


async def test_drain_and_undrain_tell_what_still_runs(fleet: Fleet, client: Client) -> None:
    fleet.board.cells[LAYOUT.replica(1, 0) + REPLICA_OFFSETS[OUTSTANDING.name]] = 2
    body = {"replica": "http://10.0.0.1:8000/"}
    assert await client.post("/api/replicas/drain", json=body) == (
        200,
        {"replica": A, "draining": True, "outstanding": 2},
    )
    assert (await client.status()).replicas[0].condition == "draining"
    fleet.board.cells[LAYOUT.replica(1, 0) + REPLICA_OFFSETS[OUTSTANDING.name]] = 0
    assert (await client.status()).replicas[0].condition == "drained"
    status, answer = await client.post("/api/replicas/undrain", json=body)
    assert (status, answer["draining"]) == (200, False)
    assert (await client.status()).replicas[0].condition == "up"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            b'{"replica": "http://10.9.9.9:1"}',
            404,
            f"No replica has the URL http://10.9.9.9:1; known: {A}, {B}, {C}.",
        ),
        (
            b'{"replica": "nonsense"}',
            400,
            "The replica's URL 'nonsense' is not an http or https URL (write http://10.0.0.1:8000).",
        ),
        (b"{}", 400, 'The body must be {"replica": URL}: Object missing required field `replica`.'),
        (b"{", 400, 'The body must be {"replica": URL}: Input data was truncated.'),
    ],
    ids=["unknown", "no URL", "no replica", "no JSON"],
)
async def test_a_drain_that_can_not_be_done_says_why(
    client: Client, body: bytes, status: int, message: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/replicas/drain", data=body, headers=headers)
    assert answer == (status, {"error": {"message": message, "code": status}})


async def test_reload_reads_again_or_says_why_not(fleet: Fleet, client: Client) -> None:
    assert await client.post("/api/reload", json={}) == (200, {"snapshot": 4})
    assert fleet.reloads == 1
    fleet.refuse = "gateway.yaml:3: models: is empty"
    status, answer = await client.post("/api/reload", json={})
    assert (status, answer["error"]["message"]) == (409, "gateway.yaml:3: models: is empty")


async def test_unknown_routes_are_told_in_json(client: Client) -> None:
    status, text, _ = await client.get("/nope")
    assert (status, msgspec.json.decode(text)["error"]["message"]) == (404, "Not Found: GET /nope")
    status, answer = await client.post("/api/status", json={})
    assert (status, answer["error"]["code"]) == (405, 405)


async def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    status, answer = await client.post("/api/replicas/drain", json={"replica": "x" * 100_000})
    assert (status, answer["error"]["code"]) == (413, 413)


# -- who may come in --


@pytest.mark.parametrize("host", ["localhost:9090", "127.0.0.1", "[::1]:9090", "127.0.0.2:1"])
async def test_on_loopback_names_of_this_machine_are_let_in(client: Client, host: str) -> None:
    assert (await client.get("/api/status", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:9090", "", "[::1"])
async def test_on_loopback_a_rebound_name_is_kept_out(client: Client, host: str) -> None:
    status, text, _ = await client.get("/api/status", headers={"Host": host})
    assert status == 403
    assert "does not name this machine" in text


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/status", "/api/targets", "/nope"])
async def test_elsewhere_everything_but_metrics_needs_the_token(opened: Open, path: str) -> None:
    client = await opened(Access(EVERYWHERE, TOKEN))
    status, text, headers = await client.get(path)
    assert status == 401
    assert "Authorization: Bearer TOKEN" in text
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert (await client.get("/metrics"))[0] == 200
    expected = 404 if path == "/nope" else 200
    assert (await client.get(path, headers=BEARER))[0] == expected
    assert (await client.get(path, headers=BASIC))[0] == expected


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        f"Digest {TOKEN}",
        f"Bearer {TOKEN}x",
        "Basic !",
        "Basic YTpi",
        "é",
    ],
)
async def test_a_wrong_token_is_refused(opened: Open, fleet: Fleet, authorization: str) -> None:
    client = await opened(Access(EVERYWHERE, TOKEN))
    headers = {"Authorization": authorization}
    assert (await client.get("/api/status", headers=headers))[0] == 401
    status, _ = await client.post("/api/replicas/drain", json={"replica": A}, headers=headers)
    assert status == 401
    assert not fleet.views[0].draining


async def test_a_token_that_is_set_is_asked_for_on_loopback_too(opened: Open) -> None:
    client = await opened(Access(LOOPBACK, TOKEN))
    assert (await client.get("/api/status"))[0] == 401
    assert (await client.get("/api/status", headers=BEARER))[0] == 200


def test_without_a_token_only_loopback_is_possible() -> None:
    with pytest.raises(ValueError, match=r"^the admin listener on 0\.0\.0\.0:9090 needs a token$"):
        Access(EVERYWHERE)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_a_foreign_page_can_not_drain(
    client: Client, fleet: Fleet, headers: dict[str, str], status: int
) -> None:
    body = msgspec.json.encode({"replica": A})
    assert (await client.post("/api/replicas/drain", data=body, headers=headers))[0] == status
    assert fleet.views[0].draining is (status == 200)
