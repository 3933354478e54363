"""A real Prometheus beside a real gateway: under load, in trouble, and after it.

One performance, several questions about it. In it a minute of the rules lasts a second.
"""

import asyncio
import os
import re
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.deploy.conftest import Ran
from tests.deploy.expressions import asked_by_dashboards, recorded
from tests.deploy.fleet import Clients, Fleet, Gateway, fleet, starve, worker_pids
from tests.deploy.programs import eventually, find, run, version
from tests.deploy.prometheus import FILES, Firing, Prometheus, prometheus

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]

EXPECTED: Firing = frozenset(
    {
        ("VllmGatewayReplicaDown", "chat"),
        ("VllmGatewayEjectionsFlapping", "chat"),
        ("VllmGatewayReplicaDown", "lonely"),
        ("VllmGatewayPoolWithoutCapacity", "lonely"),
        ("VllmGatewayFirstTokenSloBurnFast", "slow"),
        ("VllmGatewayFirstTokenSloBurnSlow", "slow"),
        ("VllmGatewayBrokenStreams", "brittle"),
        ("VllmGatewayQueueGrowing", "crowded"),
        ("VllmGatewayShedding", "crowded"),
        ("VllmGatewayWorkerRestarts", ""),
        ("VllmGatewayEventLoopLag", ""),
    }
)
CONSEQUENCES: Firing = frozenset(
    {
        # Who waits in a queue gets the first token late, and a pool without a replica refuses.
        ("VllmGatewayFirstTokenSloBurnFast", "crowded"),
        ("VllmGatewayFirstTokenSloBurnSlow", "crowded"),
        ("VllmGatewayShedding", "lonely"),
    }
)


OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True)
class Performance:
    """What was seen."""

    without_data: list[str]
    asked: int
    vllm_targets: dict[str, dict[str, Any]]
    replicas: set[str]
    text: str
    open_metrics: str
    exemplars: list[dict[str, Any]]
    """Of the time to the first token of a model that is well."""
    fired: Firing
    after_the_gateway_died: Firing


@pytest.fixture(scope="module")
def performance(tmp_path_factory: pytest.TempPathFactory, ran: Ran) -> Performance:
    find("prometheus")
    ran(f"{version('prometheus', '--version')}: scraped a gateway and 8 replicas under load with faults")
    return asyncio.run(play(tmp_path_factory.mktemp("prometheus")))


async def play(folder: Path) -> Performance:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        replicas = await stack.enter_async_context(fleet(session))
        gateway = Gateway(folder, replicas.replicas)
        seen = await stack.enter_async_context(prometheus(folder, gateway.admin, session))
        async with gateway.serving():
            clients = Clients(session, gateway.listen)
            stack.push_async_callback(clients.leave)
            without_data, asked = await all_is_well(seen, clients)
            targets = await seen.targets("vllm")
            text, open_metrics = [
                await metrics(session, gateway.admin, accept) for accept in ("text/plain", OPEN_METRICS)
            ]
            exemplars = await seen.exemplars('vllm_gateway_time_to_first_token_seconds_bucket{model="well"}')
            fired = await trouble(seen, replicas, clients, gateway)
            await all_is_well_again(seen, replicas, clients)
        after = await firing(seen, frozenset({("VllmGatewayDown", "")}))
        async with gateway.serving():
            await silence(seen, 60.0)
        addresses = replicas.addresses
        return Performance(
            without_data, asked, targets, addresses, text, open_metrics, exemplars, fired, after
        )


async def metrics(session: aiohttp.ClientSession, admin: str, accept: str) -> str:
    """What the gateway says when it is scraped by somebody who takes this format, its name first."""
    async with session.get(f"http://{admin}/metrics", headers={"Accept": accept}) as response:
        return f"{response.content_type}\n{await response.text()}"


async def all_is_well(seen: Prometheus, clients: Clients) -> tuple[list[str], int]:
    """Every question gets an answer and no alert fires; returns which questions did not, and how many."""
    for model in ("well", "chat", "lonely", "brittle"):
        clients.come(model, 2)
    clients.come("slow", 1, pause_s=1.0)
    clients.come("crowded", 3, pause_s=0.3)
    questions = [*asked_by_dashboards(), *recorded()]
    unanswered = questions

    async def answered() -> bool:
        nonlocal unanswered
        unanswered = [(where, what) for where, what in unanswered if not await seen.query(what)]
        return not unanswered

    with suppress(AssertionError):
        await eventually(answered, 40.0, every_s=1.0)
    await silence(seen, 60.0)
    return [f"{where}: {what}" for where, what in unanswered], len(questions)


async def trouble(seen: Prometheus, replicas: Fleet, clients: Clients, gateway: Gateway) -> Firing:
    """Everything goes wrong at once, each thing for another model; returns what fired until all had."""
    await replicas.replicas["chat"][0].kill()
    await replicas.break_("chat", 1, status=503)
    await replicas.replicas["lonely"][0].kill()
    await replicas.break_("slow", first_byte_delay_s=3.0)
    clients.come("slow", 12)
    await replicas.break_("brittle", reset_after_tokens=3, probability=0.2)
    starved, killed = await worker_pids(clients.session, gateway.admin)
    os.kill(killed, signal.SIGKILL)
    crowding = asyncio.create_task(crowd(clients))
    starving = asyncio.create_task(starve(starved))
    try:
        return await firing(seen, EXPECTED)
    finally:
        for task in (crowding, starving):
            task.cancel()
        await asyncio.gather(crowding, starving, return_exceptions=True)


async def crowd(clients: Clients) -> None:
    """More and more clients for a model that serves two requests a second."""
    for _ in range(40):
        clients.come("crowded", 3, pause_s=0.5)
        await asyncio.sleep(1.0)


async def all_is_well_again(seen: Prometheus, replicas: Fleet, clients: Clients) -> None:
    await clients.leave()
    for model, number in (("chat", 1), ("slow", 0), ("brittle", 0)):
        await replicas.mend(model, number)
    for model in ("chat", "lonely"):
        await replicas.replicas[model][0].start()
    for model in ("well", "chat", "lonely", "brittle", "slow"):
        clients.come(model, 2)
    await silence(seen, 120.0)
    await clients.leave()


async def firing(seen: Prometheus, expected: Firing) -> Firing:
    """Wait until all of them have fired; returns everything that did meanwhile."""
    fired: Firing = frozenset()

    async def all_fired() -> bool:
        nonlocal fired
        fired |= await seen.firing()
        return expected <= fired

    with suppress(AssertionError):
        await eventually(all_fired, 120.0, every_s=0.5)
    return fired


async def silence(seen: Prometheus, within_s: float) -> None:
    """Wait until no alert fires."""

    fires: Firing = frozenset()

    async def nothing() -> bool:
        nonlocal fires
        fires = await seen.firing()
        return not fires

    with suppress(AssertionError):
        await eventually(nothing, within_s, every_s=0.5)
    assert sorted(fires) == []


def test_every_expression_of_every_dashboard_and_recording_rule_returns_data(
    performance: Performance, ran: Ran
) -> None:
    assert performance.without_data == []
    assert performance.asked > 70
    ran(f"prometheus: {performance.asked} expressions of dashboards and recording rules returned data")


def test_prometheus_finds_the_vllm_servers_through_the_gateway(performance: Performance) -> None:
    assert performance.vllm_targets.keys() == performance.replicas
    for address, target in performance.vllm_targets.items():
        assert target["health"] == "up", target["lastError"]
        assert target["labels"]["replica"] == f"http://{address}"
        assert target["labels"]["model"] in {"well", "chat", "lonely", "slow", "brittle", "crowded"}


def test_promtool_finds_nothing_odd_in_the_metrics(performance: Performance, ran: Ran) -> None:
    kind, _, text = performance.text.partition("\n")
    assert kind == "text/plain"
    run("promtool", "check", "metrics", read=text)
    ran("promtool: check metrics, on those of the running gateway")


def test_who_asks_for_open_metrics_gets_it(performance: Performance) -> None:
    assert performance.open_metrics.startswith("application/openmetrics-text\n")
    assert performance.open_metrics.endswith("# EOF\n")


def test_prometheus_stores_which_request_a_duration_was(performance: Performance, ran: Ran) -> None:
    for exemplar in performance.exemplars:
        assert re.fullmatch("[0-9a-f]{32}", exemplar["labels"]["request_id"])
        assert float(exemplar["value"]) < 60.0
    assert len({exemplar["labels"]["request_id"] for exemplar in performance.exemplars}) > 3
    ran("prometheus: exemplars stored, each with the id of a request")


def test_every_alert_there_is_has_its_fault_in_this_performance() -> None:
    rules = yaml.safe_load((FILES / "alerts.rules.yml").read_text("utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert alerts == {name for name, _ in EXPECTED} | {"VllmGatewayDown"}


def test_each_fault_fires_its_alert(performance: Performance, ran: Ran) -> None:
    assert sorted(EXPECTED - performance.fired) == []
    assert performance.after_the_gateway_died >= {("VllmGatewayDown", "")}
    names = {name for name, _ in EXPECTED} | {"VllmGatewayDown"}
    ran(f"prometheus: each of the {len(names)} alerts fired in its fault, and all ended after it")


def test_no_alert_fires_for_a_model_that_is_well(performance: Performance) -> None:
    assert sorted(performance.fired - EXPECTED - CONSEQUENCES) == []
