"""The whole control process: from a configuration to workers that serve, through reloads to the end."""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.config import ConfigError, Secrets, parse, resolve_secrets
from gateway.control import process, upkeep, workers
from gateway.control.admin.source import ReloadRefused, UnknownReplica
from gateway.control.journal import Journal
from gateway.control.listening import CannotListen
from gateway.control.plane import ControlPlane, Loaded
from gateway.control.process import Surroundings, control_plane, raise_descriptor_limit, within
from gateway.proxy.settings import Settings
from gateway.sim import EngineLimits, SimOptions, SimulatedReplica
from tests.integration.sim_client import until

HEAD = (
    "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\nhealth: {interval: 50ms, metrics_interval: 50ms}\n"
)
STUB = Path(__file__).with_name("stub_worker.py")
START_S = 20.0
PATIENCE = aiohttp.ClientTimeout(total=START_S)


def loaded(text: str, **environ: str) -> Loaded:
    config = parse(HEAD + text, "gateway.yaml")
    return Loaded(config, resolve_secrets(config, environ, Path.read_text))


def stub(mode: str = "good", **around: Any) -> Surroundings:
    """Surroundings with workers that relay nothing but start quickly."""
    return Surroundings(command=lambda fd: (sys.executable, "-P", str(STUB), mode, str(fd)), **around)


class File:
    """A configuration file that can be changed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def load(self) -> Loaded:
        return loaded(self.text)


def urls(plane: ControlPlane, pool: str = "m") -> dict[str, str]:
    found = plane.snapshot.pools.get(pool)
    return {r.id: r.state.value for r in found.replicas} if found else {}


def kinds(plane: ControlPlane) -> list[str]:
    return [event.kind for event in plane.events()]


@asynccontextmanager
async def two_replicas() -> AsyncIterator[tuple[SimulatedReplica, SimulatedReplica]]:
    async with SimulatedReplica(SimOptions("m")) as a, SimulatedReplica(SimOptions("m")) as b:
        yield a, b


# -- with real workers --


async def test_a_gateway_started_with_nothing_but_urls_answers() -> None:
    async with two_replicas() as (a, b), control_plane(loaded(f"replicas: [{a.url}, {b.url}]")) as plane:
        await plane.ready()
        assert urls(plane) == {a.url: "up", b.url: "up"}
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as client,
            client.post(f"http://{plane.listen}/v1/chat/completions", json=body) as answer,
        ):
            assert answer.status == 200
            assert f"http://{answer.headers['x-served-by']}" in {a.url, b.url}
        facts = plane.facts()
        assert (facts.workers_up, facts.worker_restarts) == (1, 0)


async def test_the_admin_listener_shows_the_fleet() -> None:
    async with two_replicas() as (a, _), control_plane(loaded(f"replicas: [{a.url}]"), stub()) as plane:
        await plane.ready()
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as client,
            client.get(f"http://{plane.admin}/api/status") as answer,
        ):
            status = await answer.json()
        assert [r["url"] for r in status["replicas"]] == [a.url]
        assert status["replicas"][0]["condition"] == "up"


async def test_streams_go_on_while_replicas_are_added_and_removed() -> None:
    file = File("")
    async with two_replicas() as (a, b), SimulatedReplica(SimOptions("m")) as c:
        file.text = f"models: {{m: {{replicas: [{a.url}, {b.url}]}}}}"
        async with control_plane(file.load(), Surroundings(load=file.load)) as plane:
            await plane.ready()
            body = {"model": "m", "prompt": "a", "max_tokens": 60, "stream": True}

            async def stream(client: aiohttp.ClientSession) -> bytes:
                async with client.post(f"http://{plane.listen}/v1/completions", json=body) as answer:
                    return await answer.read()

            async with aiohttp.ClientSession(timeout=PATIENCE) as client:
                streams = [asyncio.create_task(stream(client)) for _ in range(50)]
                await until(lambda: a.running + b.running == 50)
                file.text = f"models: {{m: {{replicas: [{b.url}, {c.url}]}}}}"
                await plane.reload()
                await until(lambda: urls(plane) == {b.url: "up", c.url: "up"})
                texts = await asyncio.gather(*streams)
            assert all(text.endswith(b"data: [DONE]\n\n") for text in texts)
            assert a.running == b.running == 0


async def test_a_killed_worker_takes_only_its_own_streams_with_it_and_another_serves() -> None:
    async with (
        SimulatedReplica(SimOptions("m", engine=EngineLimits(step_s=0.02))) as replica,
        control_plane(loaded(f"replicas: [{replica.url}]"), Surroundings()) as plane,
        aiohttp.ClientSession(timeout=PATIENCE) as client,
    ):
        await plane.ready()
        url = f"http://{plane.listen}/v1/completions"
        endless = {"model": "m", "prompt": "a", "max_tokens": 100_000, "stream": True}
        answers = [await client.post(url, json=endless) for _ in range(3)]
        slot = plane.replicas()[0].slot
        assert slot is not None
        assert plane.board.outstanding(slot) == 3
        (worker,) = plane.workers()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        for answer in answers:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        await until(lambda: plane.board.outstanding(slot) == 0)
        # Its socket is still the same: whoever connects now waits for the next worker, and is served.
        async with client.post(url, json={"model": "m", "prompt": "a", "max_tokens": 2}) as answer:
            assert answer.status == 200
        await until(lambda: plane.board.outstanding(slot) == 0 and replica.running == 0)
        assert plane.facts().worker_restarts == 1


# -- the fleet changes --


async def test_a_reload_changes_the_fleet_and_keeps_what_is_known() -> None:
    file = File("")
    async with two_replicas() as (a, b):
        file.text = f"models: {{m: {{replicas: [{a.url}]}}}}"
        async with control_plane(file.load(), stub(load=file.load)) as plane:
            await plane.ready()
            plane.drain(a.url)
            file.text = f"models: {{m: {{replicas: [{a.url}, {b.url}], aliases: [n]}}}}"
            await plane.reload()
            assert urls(plane)[a.url] == "up"
            assert plane.snapshot.pools["m"].replicas[0].draining
            assert plane.snapshot.names["n"].upstream == "m"
            await until(lambda: urls(plane)[b.url] == "up")
            assert plane.facts().reloads == {"ok": 1, "rejected": 0}


async def test_a_bad_file_is_refused_with_its_error_and_the_old_one_holds() -> None:
    file = File("")
    async with two_replicas() as (a, _):
        file.text = f"models: {{m: {{replicas: [{a.url}]}}}}"
        async with control_plane(file.load(), stub(load=file.load)) as plane:
            await plane.ready()
            file.text = "models: {m: {replicas: [not-a-url]}}"
            with pytest.raises(ReloadRefused, match=r"gateway\.yaml:5: "):
                await plane.reload()
            assert urls(plane) == {a.url: "up"}
            assert plane.facts().reloads == {"ok": 0, "rejected": 1}
            assert "the old configuration stays" in plane.events()[-1].message


async def test_a_gateway_without_a_file_says_so() -> None:
    async with two_replicas() as (a, _), control_plane(loaded(f"replicas: [{a.url}]"), stub()) as plane:
        with pytest.raises(ReloadRefused, match="started with URLs"):
            await plane.reload()


async def test_what_can_not_be_changed_in_a_running_gateway_is_told() -> None:
    file = File("replicas: [http://127.0.0.1:1]")
    async with control_plane(file.load(), stub(load=file.load)) as plane:
        file.text += "\nlimits: {body: 1MiB}\naccess_log: true"
        await plane.reload()
        sentence = (
            "the new configuration also changes limits and logging of the workers: that needs a restart"
        )
        assert plane.warnings() == (sentence,)
        await plane.reload()
        assert plane.warnings() == (sentence,), "it holds until the restart"


async def test_a_new_admin_token_needs_a_restart() -> None:
    text = "replicas: [http://127.0.0.1:1]\nadmin_token_env: TOKEN"
    tokens = iter(["one", "two"])

    def load() -> Loaded:
        return loaded(text, TOKEN=next(tokens))

    async with control_plane(load(), stub(load=load)) as plane:
        await plane.reload()
        assert plane.warnings() == (
            "the new configuration also changes the admin token: that needs a restart",
        )


async def test_a_name_with_several_addresses_is_listened_on_at_all_of_them_and_administered_at_one() -> None:
    text = HEAD.replace("127.0.0.1:0", "localhost:0") + "replicas: [http://127.0.0.1:1]"
    async with (
        control_plane(Loaded(parse(text, "t"), Secrets()), stub()) as plane,
        aiohttp.ClientSession(timeout=PATIENCE) as client,
        client.get(f"http://{plane.admin}/api/status") as answer,
    ):
        assert answer.status == 200


async def test_a_change_of_the_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("replicas: [http://127.0.0.1:1]")

    def load() -> Loaded:
        return loaded(path.read_text())

    async with control_plane(load(), stub(load=load, watched=path, watch_s=0.01)) as plane:
        await asyncio.to_thread(path.write_text, "replicas: [http://127.0.0.1:1, http://127.0.0.1:2]")
        await until(lambda: len(plane.replicas()) == 2)
        await asyncio.to_thread(path.write_text, "replicas: nonsense")
        await until(lambda: "reload_rejected" in kinds(plane))
        assert len(plane.replicas()) == 2


async def test_a_drained_replica_is_shown_as_such_and_can_be_taken_back() -> None:
    async with two_replicas() as (a, _), control_plane(loaded(f"replicas: [{a.url}]"), stub()) as plane:
        await plane.ready()
        plane.drain(f"{a.url}/")
        await until(lambda: plane.snapshot.pools["m"].replicas[0].draining)
        assert not plane.snapshot.names["m"].listed
        assert plane.replicas()[0].draining
        plane.undrain(a.url)
        await until(lambda: plane.snapshot.names["m"].listed)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
async def test_nobody_else_can_be_drained(url: str) -> None:
    async with two_replicas() as (a, _), control_plane(loaded(f"replicas: [{a.url}]"), stub()) as plane:
        with pytest.raises(UnknownReplica, match=f"there is no replica {url}"):
            plane.drain(url)


async def test_the_slot_of_a_replica_that_left_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TIDY_S", 0.01)
    monkeypatch.setattr(upkeep, "QUARANTINE_S", 0.0)
    file = File("replicas: [http://127.0.0.1:1, http://127.0.0.1:2]")
    async with control_plane(file.load(), stub("idle", load=file.load)) as plane:
        file.text = "replicas: [http://127.0.0.1:2]"
        await plane.reload()
        released = plane._parts.state._slots._replicas
        await until(lambda: not released.released)
        file.text = "replicas: [http://127.0.0.1:2, http://127.0.0.1:3]"
        await plane.reload()
        assert {view.url: view.slot for view in plane.replicas()} == {
            "http://127.0.0.1:2": 1,
            "http://127.0.0.1:3": 0,
        }


# -- start --


async def test_a_replica_that_is_down_for_ever_delays_the_start_only_until_its_refusal() -> None:
    async with control_plane(loaded("models: {m: {replicas: [http://127.0.0.1:1]}}"), stub()) as plane:
        async with asyncio.timeout(START_S):
            await plane.ready()
        assert urls(plane) == {"http://127.0.0.1:1": "refused"}
        view = plane.replicas()[0]
        assert (view.reason, view.slot, view.models) == ("connection refused", 0, ())


async def test_what_the_views_say_about_a_replica() -> None:
    options = SimOptions("m", adapters=(("sql", "l"),))
    async with (
        SimulatedReplica(options) as replica,
        control_plane(loaded(f"replicas: [{replica.url}]"), stub()) as plane,
    ):
        await plane.ready()
        (view,) = plane.replicas()
        assert (view.models, view.adapters, view.origin) == (("m",), ("sql",), "discovered")
        assert view.probe_latency_s
        await until(lambda: replica.url in plane.facts().engines)


@pytest.mark.parametrize("which", ["listen", "admin"])
async def test_a_taken_address_stops_the_start_before_anything_runs(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = HEAD.replace(f"{which}: 127.0.0.1:0", f"{which}: {address}") + "replicas: [http://127.0.0.1:1]"
        config = parse(text, "t")
        with pytest.raises(CannotListen, match=f"can't listen on {address}: address already in use"):
            async with control_plane(Loaded(config, Secrets()), stub()):
                pytest.fail("it started")


def test_the_soft_limit_of_descriptors_becomes_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(1024, 896), (8000, 7000), (8008, 7000), (1 << 20, 7000), (resource.RLIM_INFINITY, 7000)],
)
def test_client_connections_leave_descriptors_for_those_to_replicas(
    descriptors: int, connections: int
) -> None:
    journal = Journal(lambda: 0.0)
    settings = within(Settings(connections=7000), descriptors, journal)
    assert settings == Settings(connections=connections)
    assert [event.message[:48] for event in journal.events] == (
        [] if connections == 7000 else ["each worker takes at most 896 client connections"]
    )


async def test_two_gateways_in_one_process_do_not_meet() -> None:
    async with two_replicas() as (a, b):
        first, second = loaded(f"replicas: [{a.url}]"), loaded(f"replicas: [{b.url}]")
        async with control_plane(first, stub()) as one, control_plane(second, stub()) as other:
            await one.ready()
            await other.ready()
            assert (urls(one), urls(other)) == ({a.url: "up"}, {b.url: "up"})


# -- end --


async def serve_until(plane: ControlPlane, act: Callable[[], None]) -> None:
    announced = asyncio.Event()
    serving = asyncio.create_task(plane.serve(announced.set))
    async with asyncio.timeout(START_S):
        await announced.wait()
        act()
        await serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_gateway_in_order(number: signal.Signals) -> None:
    async with control_plane(loaded("replicas: [http://127.0.0.1:1]"), stub()) as plane:
        await serve_until(plane, lambda: os.kill(os.getpid(), number))
        assert plane.facts().workers_up == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(plane.listen.host, plane.listen.port)


async def test_a_second_signal_does_not_wait_for_the_grace_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "KILL_MARGIN_S", 0.1)
    patient = loaded("replicas: [http://127.0.0.1:1]\nshutdown_grace: 1h")
    async with control_plane(patient, stub("deaf")) as plane:

        def twice() -> None:
            plane.interrupt()
            asyncio.get_running_loop().call_soon(plane.interrupt)

        await serve_until(plane, twice)


async def test_a_signal_during_the_start_is_enough() -> None:
    async with control_plane(loaded("replicas: [http://127.0.0.1:1]"), stub()) as plane:
        serving = asyncio.create_task(plane.serve(lambda: pytest.fail("it announced itself")))
        await asyncio.sleep(0)
        plane.interrupt()
        async with asyncio.timeout(START_S):
            await serving


async def test_a_hangup_reads_the_file_again_and_a_bad_one_only_tells() -> None:
    file = File("replicas: [http://127.0.0.1:1]")
    async with control_plane(file.load(), stub(load=file.load)) as plane:

        def hang_up() -> None:
            file.text = "replicas: [http://127.0.0.1:1, http://127.0.0.1:2]"
            os.kill(os.getpid(), signal.SIGHUP)

        serving = asyncio.create_task(plane.serve(hang_up))
        await until(lambda: len(plane.replicas()) == 2, START_S)
        file.text = "replicas: nonsense"
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "reload_rejected" in kinds(plane))
        plane.interrupt()
        await serving


async def test_an_error_of_the_file_itself_is_a_refusal_too() -> None:
    def load() -> Loaded:
        raise ConfigError("gateway.yaml", [])

    async with control_plane(loaded("replicas: [http://127.0.0.1:1]"), replace(stub(), load=load)) as plane:
        with pytest.raises(ReloadRefused):
            await plane.reload()
