"""Launched servers in a control plane: what the launcher tells becomes the fleet's state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.control.plane import ControlPlane
from gateway.control.process import control_plane
from gateway.launch.bootlog import BootLog
from gateway.launch.placement.placing import place
from gateway.launch.plan import Plan
from gateway.launch.supervision.events import Answering, Ended, GivenUp, Replanned, Server, Starting
from gateway.sim import SimOptions, SimulatedReplica
from tests.integration.sim_client import until
from tests.integration.test_control_plane import kinds, loaded, stub, urls
from tests.unit.launch.builders import h100, llama_config, request

REPLICA = SimOptions("m", adapters=(("m-sql", "a"),), api_key="sk-own")
KEYS = "models: {m: {api_key_env: KEY, launch: {model: /m}}}"


def plan(**options: object) -> Plan:
    return place([request(llama_config(), "m", **options)], [h100()])


@asynccontextmanager
async def launching(server: Server, text: str = KEYS) -> AsyncIterator[ControlPlane]:
    async with control_plane(loaded(text, KEY="sk-own"), stub()) as plane:
        plane.launch([server], plan())
        yield plane


async def test_a_server_is_starting_in_the_launchers_words_until_it_answers() -> None:
    async with SimulatedReplica(REPLICA) as replica:
        server = Server("m", "m", replica.url, (0,))
        replica.stop()
        async with launching(server) as plane:
            assert plane.replicas()[0].reason == "waits for its turn to start"
            plane.launched.hear(Starting(server, 1, "loading weights (50 %)"))
            view = plane.replicas()[0]
            assert (view.state, view.reason, view.origin) == (
                "starting",
                "loading weights (50 %)",
                "launched",
            )
            await replica.start()
            plane.launched.hear(Answering(server, 12.3, BootLog()))
            await until(lambda: urls(plane) == {replica.url: "up"})
            assert plane.replicas()[0].adapters == ("m-sql",)
            assert [event.message for event in plane.events() if event.kind == "server_started"] == [
                "answers 12 s after its start"
            ]


async def test_launched_and_remote_servers_are_one_pool_over_reloads() -> None:
    async with SimulatedReplica(REPLICA) as launched, SimulatedReplica(REPLICA) as remote:
        text = KEYS.replace("launch:", f"replicas: [{remote.url}], launch:")
        async with launching(Server("m", "m", launched.url, (0,)), text) as plane:
            await until(lambda: urls(plane) == {remote.url: "up", launched.url: "up"})
            plane.apply(plane.loaded)
            assert set(urls(plane)) == {remote.url, launched.url}


async def test_the_status_shows_the_plan_and_follows_it() -> None:
    server = Server("m", "m", "http://127.0.0.1:1", (0,))
    async with launching(server) as plane:
        before = plane.devices()[0].servers[0]
        assert (before.model, before.replica) == ("m", server.url)
        smaller = plan(kv_cache_bytes=1 << 30)
        plane.launched.hear(Replanned(server, "it ran out of memory", "KV cache 2 -> 1 GiB", smaller))
        assert plane.devices()[0].servers[0].kv_cache_bytes == 1 << 30 < before.kv_cache_bytes
        assert kinds(plane)[-1] == "server_replanned"


async def test_one_that_is_given_up_is_a_warning_until_it_is_started_again() -> None:
    server = Server("m", "m", "http://127.0.0.1:1", (0,))
    async with launching(server) as plane:
        plane.launched.hear(Ended(server, "it ended with status 1", 2.0))
        plane.launched.hear(GivenUp(server, "it failed 6 times in a row"))
        warning = "m is given up until the configuration is reloaded: it failed 6 times in a row"
        assert warning in plane.warnings()
        assert plane.replicas()[0].state == "refused"
        assert kinds(plane)[-2:] == ["server_ended", "server_given_up"]
        plane.launched.hear(Starting(server, 7, "starting Python"))
        assert warning not in plane.warnings()


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ("models: {m: {api_key_env: KEY, launch: {model: /m, replicas: 2}}}", True),
        (f"{KEYS}\nvllm_command: other", True),
        (f"{KEYS}\nretries: {{attempts: 1}}", False),
    ],
)
async def test_a_new_configuration_does_not_start_servers_and_that_is_said(
    change: str, *, matters: bool
) -> None:
    async with launching(Server("m", "m", "http://127.0.0.1:1", (0,))) as plane:
        plane.apply(loaded(change, KEY="sk-own"))
        assert any("which servers to launch" in warning for warning in plane.warnings()) is matters
