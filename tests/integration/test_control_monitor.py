"""Watching simulated replicas: what becomes of them in the picture that workers get."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import aiohttp
import pytest

from gateway.control import monitor as monitoring
from gateway.control.canary import Canary
from gateway.control.declared import Plan
from gateway.control.fleet_state import FleetState
from gateway.control.journal import Journal
from gateway.control.monitor import Monitor, Rhythm
from gateway.control.probes import NoAnswer, Outcome, open_session
from gateway.fleet.ejection import Standing
from gateway.fleet.health import Probe
from gateway.fleet.observation import DeclaredPool, Observation, Owner
from gateway.fleet.snapshot import Replica, Snapshot
from gateway.sim import EngineLimits, SimOptions, SimulatedReplica
from gateway.telemetry.layout import REPLICA_OFFSETS, Layout, Shared
from gateway.telemetry.scoreboard import Scoreboard
from tests.integration.sim_client import until

QUICK = Rhythm(interval_s=0.05, timeout_s=5.0, models_interval_s=0.1, metrics_interval_s=0.05)
SLOW = Rhythm(interval_s=3600.0, timeout_s=5.0, models_interval_s=3600.0, metrics_interval_s=3600.0)
LAYOUT = Layout(workers=1, pools=4, replicas=8)


@dataclass
class Watched:
    state: FleetState
    board: Scoreboard
    journal: Journal
    monitor: Monitor
    session: aiohttp.ClientSession
    pictures: list[Snapshot] = field(default_factory=list)

    def watch(
        self, *replicas: Observation, rhythm: Rhythm = QUICK, pools: Sequence[str] = (), hang_s: float = 120.0
    ) -> None:
        self.state.declare(
            Plan(
                pools=tuple(DeclaredPool(name=name, served_name=name) for name in pools),
                replicas=replicas,
                hang_s=hang_s,
            )
        )
        self.state.settle()
        self.monitor.follow([known.seen for known in self.state.known], rhythm)

    def replica(self, url: str) -> Replica | None:
        pools = self.state.snapshot.pools.values()
        return next((r for pool in pools for r in pool.replicas if r.id == url), None)

    def shows(self, url: str, state: str) -> bool:
        found = self.replica(url)
        return found is not None and found.state.value == state

    def has(self, url: str, model: str) -> bool:
        found = self.replica(url)
        return found is not None and model in found.models

    def pretend_outstanding(self, url: str, count: int) -> None:
        cell = LAYOUT.replica(0, self.state.slots[url]) + REPLICA_OFFSETS["replica_outstanding"]
        self.board.cells[cell] = count

    def standing(self, url: str) -> Standing:
        return self.board.standing(self.state.slots[url], asyncio.get_running_loop().time())


@asynccontextmanager
async def watching() -> AsyncIterator[Watched]:
    board, journal = Scoreboard.create(LAYOUT), Journal(lambda: 0.0)
    async with asyncio.TaskGroup() as group, open_session() as session:
        state = FleetState(board, journal)
        them = Watched(state, board, journal, Monitor(group, session, state, board, Random(1)), session)
        state.subscribe(them.pictures.append)
        try:
            yield them
        finally:
            them.monitor.close()
    board.close()


def stranger(replica: SimulatedReplica) -> Observation:
    return Observation(url=replica.url, owner=Owner.DISCOVERED)


def sim(model: str = "m", **options: object) -> SimulatedReplica:
    return SimulatedReplica(SimOptions(model, **options))  # type: ignore[arg-type]


async def test_a_replica_that_starts_late_goes_from_refused_to_up() -> None:
    async with watching() as them, sim() as replica:
        replica.stop()
        them.watch(Observation(url=replica.url, pool="m"), pools=["m"])
        await until(lambda: them.shows(replica.url, "refused"))
        assert "m" in them.state.snapshot.names, "known, though nobody serves it yet"
        await replica.start()
        await until(lambda: them.shows(replica.url, "up"))
        assert them.state.snapshot.names["m"].listed


async def test_a_replica_is_never_shown_as_up_without_its_models() -> None:
    async with watching() as them, sim(adapters=(("sql", "l"),)) as replica:
        them.watch(Observation(url=replica.url, pool="m"), pools=["m"])
        await until(lambda: them.shows(replica.url, "up"))
        for picture in them.pictures:
            for shown in picture.pools["m"].replicas:
                assert shown.state.value != "up" or shown.models == {"m", "sql"}


async def test_servers_of_one_model_form_a_pool_by_themselves() -> None:
    async with watching() as them, sim("x") as a, sim("y") as b, sim("x") as c:
        them.watch(*map(stranger, (a, b, c)))
        await until(lambda: all(them.shows(r.url, "up") for r in (a, b, c)))
        members = {name: {r.id for r in pool.replicas} for name, pool in them.state.snapshot.pools.items()}
        assert members == {"x": {a.url, c.url}, "y": {b.url}}


async def test_an_adapter_that_appears_while_running_is_learnt() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica))
        await until(lambda: them.shows(replica.url, "up"))
        assert "sql" not in them.state.snapshot.names
        async with them.session.post(
            f"{replica.url}/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": "l"}
        ) as answer:
            assert answer.status == 200
        await until(lambda: them.has(replica.url, "sql"))
        assert them.state.snapshot.names["sql"].parent == "m"


async def test_an_adapter_that_is_lost_in_a_restart_is_forgotten_with_the_recovery() -> None:
    async with watching() as them, sim() as a, sim(adapters=(("sql", "l"),)) as b:
        async with them.session.post(
            f"{a.url}/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": "l"}
        ) as answer:
            assert answer.status == 200
        them.watch(stranger(a), stranger(b), rhythm=Rhythm(interval_s=0.05, models_interval_s=3600.0))
        await until(lambda: them.has(a.url, "sql") and them.has(b.url, "sql"))
        a.stop()
        await until(lambda: them.shows(a.url, "refused"))
        assert them.has(a.url, "sql"), "while it is down, what it had stays known"
        await a.start()
        await until(lambda: them.shows(a.url, "up"))
        assert not them.has(a.url, "sql")
        assert them.state.snapshot.names["sql"].listed


async def test_models_are_read_at_once_when_somebody_asks() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), rhythm=Rhythm(interval_s=3600.0, models_interval_s=3600.0))
        await until(lambda: them.shows(replica.url, "up"))
        async with them.session.post(
            f"{replica.url}/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": "l"}
        ) as answer:
            assert answer.status == 200
        them.monitor.read_models()
        await until(lambda: them.has(replica.url, "sql"))


async def test_a_listing_that_fails_now_and_then_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def no_answer(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise NoAnswer(Outcome(Probe.BAD_STATUS, "GET /v1/models: HTTP 500"))

    async with watching() as them, sim() as replica:
        them.watch(stranger(replica))
        await until(lambda: them.shows(replica.url, "up"))
        monkeypatch.setattr(monitoring, "read_models", no_answer)
        await until(lambda: asked >= 2)
        assert them.shows(replica.url, "up")
        assert them.has(replica.url, "m")


async def test_a_replica_that_answers_5xx_is_failing_and_one_success_brings_it_back() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica))
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(health_status=503)
        await until(lambda: them.shows(replica.url, "failing"))
        replica.clear_faults()
        await until(lambda: them.shows(replica.url, "up"))


async def test_a_slow_health_check_does_not_take_a_replica_out() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), rhythm=Rhythm(interval_s=0.02, timeout_s=10.0))
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(health_delay_s=0.3)
        asked = len(replica.requests)
        await until(lambda: sum(r.path == "/health" for r in replica.requests[asked:]) >= 3)
        assert them.shows(replica.url, "up")


async def test_probes_that_time_out_three_times_in_a_row_do() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), rhythm=Rhythm(interval_s=0.02, timeout_s=0.1))
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(health_hang=True)
        await until(lambda: them.shows(replica.url, "unresponsive"))
        replica.clear_faults()
        await until(lambda: them.shows(replica.url, "up"))


async def test_a_replica_that_hangs_delays_no_other() -> None:
    async with watching() as them, sim() as stuck, sim() as well:
        stuck.set_faults(health_hang=True)
        them.watch(stranger(stuck), stranger(well), rhythm=Rhythm(interval_s=0.05, timeout_s=3600.0))
        await until(lambda: them.shows(well.url, "up"))
        assert them.replica(stuck.url) is None


async def test_a_key_that_is_wrong_shows_before_a_client_meets_it() -> None:
    async with watching() as them, sim(api_key="k") as replica:
        them.watch(Observation(url=replica.url, pool="m", authorization="Bearer wrong"), pools=["m"])
        await until(lambda: them.shows(replica.url, "failing"))
        reason = them.state.find(replica.url).seen.health.reason
        assert reason == "GET /v1/models: HTTP 401 (is its API key right?)"
        them.watch(Observation(url=replica.url, pool="m", authorization="Bearer k"), pools=["m"])
        await until(lambda: them.shows(replica.url, "up"))
        sent = {
            value for r in replica.requests for name, value in r.headers if name.lower() == "authorization"
        }
        assert "Bearer k" in sent


async def test_a_suspicion_is_looked_into_at_once() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), rhythm=SLOW)
        await until(lambda: them.shows(replica.url, "up"))
        replica.stop()
        for _ in range(100):
            them.monitor.suspect(replica.url)
        them.monitor.suspect("http://nobody.invalid:1")
        await until(lambda: them.shows(replica.url, "refused"))


async def test_many_suspicions_are_few_probes() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), rhythm=SLOW)
        await until(lambda: them.shows(replica.url, "up"))
        before = asyncio.get_running_loop().time()

        def probes() -> int:
            them.monitor.suspect(replica.url)
            return sum(request.path == "/health" for request in replica.requests)

        await until(lambda: probes() >= 4)
        assert asyncio.get_running_loop().time() - before >= 2 * monitoring.SUSPECT_GAP_S


async def test_who_is_not_followed_any_more_is_left_alone() -> None:
    async with watching() as them, sim() as a, sim() as b:
        them.watch(stranger(a), stranger(b))
        await until(lambda: them.shows(a.url, "up") and them.shows(b.url, "up"))
        them.watch(stranger(b))
        asked = len(a.requests)
        seen = len(b.requests)
        await until(lambda: len(b.requests) >= seen + 6)
        assert len(a.requests) - asked <= 2, "at most what was under way"
        assert them.replica(a.url) is None


# -- the engine --


async def test_the_engines_numbers_are_known_while_it_works() -> None:
    async with watching() as them, sim(engine=EngineLimits(step_s=0.02, max_num_seqs=1)) as replica:
        them.watch(stranger(replica))
        body = {"model": "m", "prompt": "a", "max_tokens": 5000}

        async def generate() -> None:
            async with them.session.post(f"{replica.url}/v1/completions", json=body) as answer:
                await answer.read()

        jobs = [asyncio.create_task(generate()) for _ in range(2)]

        def engine() -> tuple[int, int]:
            stats = them.state.find(replica.url).engine
            return (stats.running, stats.waiting) if stats else (0, 0)

        await until(lambda: engine() == (1, 1))
        for job in jobs:
            job.cancel()
        await until(lambda: engine() == (0, 0))


async def test_a_hung_engine_is_taken_out_and_returns_when_it_moves() -> None:
    async with watching() as them, sim(engine=EngineLimits(step_s=0.005)) as replica:
        them.watch(stranger(replica), hang_s=0.3)
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(freeze=True)
        them.pretend_outstanding(replica.url, 1)
        await until(lambda: them.standing(replica.url) is Standing.OUT)
        assert them.shows(replica.url, "up"), "its health check says 200 all the time"
        assert [e.kind for e in them.journal.events][-1] == "replica_hung"
        # Its clients give up, so only the gateway's own token can show that it works again.
        them.pretend_outstanding(replica.url, 0)
        replica.clear_faults()
        await until(lambda: them.standing(replica.url) is Standing.GOOD)
        assert [e.kind for e in them.journal.events][-1] == "replica_recovered"


async def test_a_hung_engine_is_not_believed_while_the_canary_gets_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitoring, "CANARY_TIMEOUT_S", 0.05)
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), hang_s=0.2)
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(freeze=True)
        them.pretend_outstanding(replica.url, 1)
        await until(lambda: them.standing(replica.url) is Standing.OUT)
        them.pretend_outstanding(replica.url, 0)
        asked = len(replica.requests)
        await until(lambda: sum(r.path == "/v1/completions" for r in replica.requests[asked:]) >= 3)
        assert them.standing(replica.url) is Standing.OUT


async def test_a_hung_server_that_no_canary_can_judge_is_tried_with_requests_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def cannot_tell(*_: object) -> Canary:
        return Canary.CANNOT_TELL

    monkeypatch.setattr("gateway.control.canary.ask", cannot_tell)
    monkeypatch.setattr(monitoring, "CANARY_PATIENCE_S", 0.2)
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), hang_s=0.2)
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(freeze=True)
        them.pretend_outstanding(replica.url, 1)
        await until(lambda: them.standing(replica.url) is Standing.OUT)
        them.pretend_outstanding(replica.url, 0)
        await until(lambda: them.standing(replica.url) is Standing.GOOD)


async def test_a_byte_of_a_hung_replica_is_noticed_between_two_readings() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), rhythm=Rhythm(interval_s=0.05, metrics_interval_s=0.1), hang_s=0.15)
        await until(lambda: them.shows(replica.url, "up"))
        them.pretend_outstanding(replica.url, 1)
        await until(lambda: them.standing(replica.url) is Standing.OUT)
        slot = them.state.slots[replica.url]
        them.board.cells[LAYOUT.shared(slot) + Shared.LAST_BYTE] = 12345
        await until(lambda: them.standing(replica.url) is Standing.GOOD)


async def test_a_hung_replica_that_is_watched_anew_begins_anew() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), hang_s=0.15)
        await until(lambda: them.shows(replica.url, "up"))
        them.pretend_outstanding(replica.url, 1)
        await until(lambda: them.standing(replica.url) is Standing.OUT)
        them.watch(stranger(replica), rhythm=SLOW, hang_s=3600.0)
        assert them.standing(replica.url) is Standing.GOOD


async def test_a_restart_makes_a_hung_replica_well() -> None:
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica), hang_s=0.2)
        await until(lambda: them.shows(replica.url, "up"))
        replica.set_faults(freeze=True)
        them.pretend_outstanding(replica.url, 1)
        await until(lambda: them.standing(replica.url) is Standing.OUT)
        replica.stop()
        await until(lambda: them.shows(replica.url, "refused"))
        them.pretend_outstanding(replica.url, 0)
        await replica.start()
        await until(lambda: them.shows(replica.url, "up") and them.standing(replica.url) is Standing.GOOD)


async def test_a_saturated_engine_is_never_taken_for_hung() -> None:
    async with watching() as them, sim(engine=EngineLimits(step_s=0.02, max_num_seqs=1)) as replica:
        them.watch(stranger(replica), hang_s=0.3)
        await until(lambda: them.shows(replica.url, "up"))
        body = {"model": "m", "prompt": "a", "max_tokens": 100_000}

        async def generate() -> None:
            async with them.session.post(f"{replica.url}/v1/completions", json=body) as answer:
                await answer.read()

        jobs = [asyncio.create_task(generate()) for _ in range(20)]
        them.pretend_outstanding(replica.url, 20)
        reads = len(replica.requests)
        await until(lambda: sum(r.path == "/metrics" for r in replica.requests[reads:]) >= 12)
        assert them.standing(replica.url) is Standing.GOOD
        for job in jobs:
            job.cancel()


@pytest.mark.parametrize("error", [RuntimeError("a mistake of ours"), ValueError("not an exposition")])
async def test_a_strange_answer_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def explode(_: str) -> None:
        raise error

    monkeypatch.setattr("gateway.control.engine.parse", explode)
    async with watching() as them, sim() as replica:
        them.watch(stranger(replica))
        await until(lambda: sum(r.path == "/metrics" for r in replica.requests) >= 3)
        assert them.shows(replica.url, "up")
