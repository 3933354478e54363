"""One owner of what is known; whole pictures of it for those who route."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from gateway.control.admin.source import UnknownReplica
from gateway.control.declared import Plan
from gateway.control.engine import EngineStats
from gateway.control.fleet_state import FleetState
from gateway.control.journal import Journal
from gateway.control.probes import Outcome
from gateway.fleet.ejection import Marks
from gateway.fleet.health import Probe
from gateway.fleet.observation import DeclaredPool, Observation, Owner, ServedModel
from gateway.fleet.snapshot import Snapshot, State
from gateway.telemetry.scoreboard import Scoreboard
from tests.unit.control.boards import Clock, small_board

OK = Outcome(Probe.OK, "healthy", 0.002)
REFUSED = Outcome(Probe.REFUSED, "connection refused")
TIMEOUT = Outcome(Probe.TIMEOUT, "no answer in time")
BASE, SQL = ServedModel("x", None, "w", 4096), ServedModel("sql", "x", "l")


@dataclass
class World:
    state: FleetState
    board: Scoreboard
    journal: Journal
    clock: Clock
    pictures: list[Snapshot]

    def states(self) -> dict[str, str]:
        pools = self.state.snapshot.pools.values()
        return {replica.id: replica.state.value for pool in pools for replica in pool.replicas}

    def kinds(self) -> list[str]:
        return [event.kind for event in self.journal.events]


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = small_board()
    yield board
    board.close()


@pytest.fixture
async def world(board: Scoreboard) -> AsyncIterator[World]:
    logging.disable(logging.CRITICAL)
    clock, pictures = Clock(), list[Snapshot]()
    journal = Journal(lambda: 5.0)
    state = FleetState(board, journal, clock)
    state.subscribe(pictures.append)
    yield World(state, board, journal, clock, pictures)
    logging.disable(logging.NOTSET)


def plan(*urls: str, pool: str | None = None) -> Plan:
    owner = Owner.DISCOVERED if pool is None else Owner.DECLARED
    return Plan(
        pools=() if pool is None else (DeclaredPool(name=pool, served_name=pool),),
        replicas=tuple(Observation(url=url, pool=pool, owner=owner) for url in urls),
    )


async def test_a_declared_replica_is_in_the_first_picture_as_starting(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.settle()
    assert world.states() == {"a": "starting"}
    assert not world.state.judged.is_set()


async def test_changes_of_one_turn_of_the_loop_are_one_picture(world: World) -> None:
    world.state.declare(plan("a", "b", pool="x"))
    for url in "ab":
        world.state.welcome(url, (BASE,), OK)
        world.state.set_draining(url, draining=True)
    assert world.pictures == []
    await asyncio.sleep(0)
    assert [picture.number for picture in world.pictures] == [1]
    assert world.state.judged.is_set()


async def test_what_changes_nothing_is_no_new_picture(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.settle()
    world.clock.now += 2
    world.state.probed("a", OK)
    world.state.listed("a", (BASE,))
    world.state.measured("a", EngineStats(running=3))
    world.state.settle()
    assert len(world.pictures) == 1


async def test_what_changes_nothing_costs_no_drawing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.settle()

    def draw(*_: object) -> None:
        pytest.fail("drawn again")

    monkeypatch.setattr("gateway.control.fleet_state.draw", draw)
    for _ in range(3):
        world.state.probed("a", OK)
        world.state.listed("a", (BASE,))
        world.state.measured("a", EngineStats())
        await asyncio.sleep(0)


async def test_a_longer_context_alone_is_a_new_picture(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.settle()
    world.state.listed("a", (ServedModel("x", None, "w", 8192),))
    await asyncio.sleep(0)
    assert world.state.snapshot.names["x"].max_model_len == 8192


async def test_a_replica_that_goes_down_keeps_its_models_so_that_they_stay_known(world: World) -> None:
    world.state.declare(plan("a"))
    world.state.welcome("a", (BASE, SQL), OK)
    world.state.probed("a", REFUSED)
    world.state.settle()
    assert world.states() == {"a": "refused"}
    assert {name: model.listed for name, model in world.state.snapshot.names.items()} == {
        "x": False,
        "sql": False,
    }


async def test_after_a_restart_without_its_adapter_a_replica_is_not_asked_for_it(world: World) -> None:
    world.state.declare(plan("a", "b"))
    world.state.welcome("a", (BASE, SQL), OK)
    world.state.welcome("b", (BASE, SQL), OK)
    world.state.probed("a", REFUSED)
    world.state.welcome("a", (BASE,), OK)
    world.state.settle()
    models = {r.id: r.models for r in world.state.snapshot.pools["x"].replicas}
    assert models == {"a": {"x"}, "b": {"x", "sql"}}
    assert "models_changed" in world.kinds()


async def test_old_failures_say_nothing_about_a_restarted_replica(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.settle()
    world.board.set_marks(0, Marks(ejected_until=2000.0, round=2))
    world.state.probed("a", OK)
    assert world.board.marks(0).round == 2, "a good probe alone is no proof that requests succeed"
    world.state.probed("a", REFUSED)
    world.state.welcome("a", (BASE,), OK)
    assert world.board.marks(0) == Marks()


async def test_a_single_timeout_changes_nothing_and_three_do(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.probed("a", TIMEOUT)
    world.state.probed("a", TIMEOUT)
    world.state.settle()
    assert world.states() == {"a": "up"}
    world.state.probed("a", TIMEOUT)
    world.state.settle()
    assert world.states() == {"a": "unresponsive"}


async def test_verdicts_are_told_once_when_they_change(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    for outcome in (REFUSED, REFUSED, REFUSED):
        world.state.probed("a", outcome)
    world.state.welcome("a", (BASE,), OK)
    world.state.probed("a", OK)
    assert world.kinds() == ["replica_down", "replica_up"]
    assert world.journal.events[0].message == "is refused: connection refused"


async def test_a_new_plan_keeps_what_is_known_of_those_who_stay(world: World) -> None:
    world.state.declare(plan("a", "b", pool="x"))
    for url in "ab":
        world.state.welcome(url, (BASE,), OK)
    world.state.set_draining("a", draining=True)
    world.state.settle()
    world.state.declare(plan("a", "c", pool="x"))
    world.state.settle()
    assert world.states() == {"a": "up", "c": "starting"}
    assert world.state.snapshot.pools["x"].replicas[0].draining
    assert world.state.slots == {"a": 0, "c": 2}, "b's slot must not be reused while it may be in use"


async def test_news_about_a_removed_replica_are_ignored(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.declare(plan(pool="x"))
    world.state.probed("a", OK)
    world.state.welcome("a", (BASE,), OK)
    world.state.listed("a", (BASE,))
    world.state.measured("a", None)
    world.state.set_hung("a", hung=True)
    world.state.settle()
    assert world.states() == {}


async def test_a_launched_replica_survives_a_new_plan(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.add(Observation(url="l", owner=Owner.LAUNCHED, pool="x"))
    world.state.declare(plan(pool="x"))
    world.state.settle()
    assert world.states() == {"l": "starting"}


async def test_while_a_launched_server_starts_only_its_answer_counts(world: World) -> None:
    world.state.declare(plan(pool="x"))
    world.state.add(Observation(url="l", owner=Owner.LAUNCHED, pool="x"))
    world.state.loading("l", "loading weights")
    for outcome in (REFUSED, TIMEOUT, REFUSED):
        world.state.probed("l", outcome)
    world.state.settle()
    health = world.state.find("l").seen.health
    assert (world.states(), health.reason) == ({"l": "starting"}, "loading weights")
    assert world.state.judged.is_set()
    world.state.welcome("l", (BASE,), OK)
    world.state.probed("l", REFUSED)
    world.state.settle()
    assert world.states() == {"l": "refused"}
    assert world.kinds() == ["replica_up", "replica_down"]


async def test_a_launched_server_that_is_started_again_has_a_clean_record(world: World) -> None:
    world.state.declare(plan(pool="x"))
    world.state.add(Observation(url="l", owner=Owner.LAUNCHED, pool="x"))
    world.state.welcome("l", (BASE,), OK)
    world.state.settle()
    world.clock.now = 7.0
    world.state.probed("l", REFUSED)
    world.board.set_marks(world.state.slots["l"], Marks(consecutive_failures=4))
    world.state.loading("l", "starting Python")
    world.state.loading("l", "loading weights")
    health = world.state.find("l").seen.health
    assert (health.state, health.since, health.reason) == (State.STARTING, 7.0, "loading weights")
    world.state.welcome("l", (BASE,), OK)
    assert world.board.marks(world.state.slots["l"]) == Marks()


async def test_a_launched_server_that_is_given_up_says_why(world: World) -> None:
    world.state.declare(plan(pool="x"))
    world.state.add(Observation(url="l", owner=Owner.LAUNCHED, pool="x"))
    world.state.given_up("l", "it failed 6 times in a row")
    world.state.settle()
    assert world.states() == {"l": "refused"}
    assert world.state.find("l").seen.health.reason == "it failed 6 times in a row"
    for change in (world.state.loading, world.state.given_up):
        change("nobody", "is not ours")


async def test_drain_is_a_bit_of_its_own_and_can_be_taken_back(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.set_draining("a", draining=True)
    world.state.set_draining("a", draining=True)
    world.state.welcome("a", (BASE,), OK)
    world.state.settle()
    (replica,) = world.state.snapshot.pools["x"].replicas
    assert (replica.state, replica.draining) == (State.UP, True)
    world.state.set_draining("a", draining=False)
    assert world.kinds() == ["drain", "replica_up", "undrain"]


async def test_an_unknown_replica_can_not_be_drained(world: World) -> None:
    with pytest.raises(UnknownReplica, match="there is no replica http://z:1"):
        world.state.set_draining("http://z:1", draining=True)


async def test_the_engines_numbers_are_forgotten_when_the_replica_is_not_up(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.measured("a", EngineStats(running=3))
    assert world.state.find("a").engine == EngineStats(running=3)
    world.state.probed("a", REFUSED)
    assert world.state.find("a").engine is None


async def test_the_latency_is_that_of_the_last_good_probe(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    world.state.welcome("a", (BASE,), OK)
    world.state.probed("a", TIMEOUT)
    assert world.state.find("a").latency_s == 0.002


async def test_a_warning_is_told_once_and_shown_as_long_as_it_holds(world: World) -> None:
    world.state.declare(plan("http://a:1", pool="y"))
    world.state.welcome("http://a:1", (BASE,), OK)
    world.state.settle()
    world.state.probed("http://a:1", REFUSED)
    world.state.settle()
    assert world.state.warnings == ("http://a:1 serves x, not y: set served_name of y or fix the URL",)
    assert world.kinds().count("warning") == 1
    world.state.welcome("http://a:1", (ServedModel("y"),), OK)
    world.state.settle()
    assert not world.state.warnings


async def test_a_discovered_pool_keeps_its_name_when_an_earlier_server_appears(world: World) -> None:
    world.state.declare(plan("a", "b"))
    world.state.welcome("b", (ServedModel("short", None, "w"),), OK)
    world.state.settle()
    world.state.welcome("a", (ServedModel("long", None, "w"), ServedModel("short", None, "w")), OK)
    world.state.settle()
    assert list(world.state.snapshot.pools) == ["short"]


async def test_a_hang_is_told_when_it_begins_and_when_it_ends(world: World) -> None:
    world.state.declare(plan("a", pool="x"))
    for hung in (True, True, False, False):
        world.state.set_hung("a", hung=hung, silent_s=120)
    assert world.kinds() == ["replica_hung", "replica_recovered"]
    assert world.state.find("a").hung_count == 1


async def test_more_replicas_than_there_is_room_for_is_a_warning(world: World) -> None:
    world.state.declare(plan("a", "b", "c", "d", pool="x"))
    world.state.settle()
    assert set(world.states()) == {"a", "b", "c"}
    assert world.state.warnings == ("the gateway holds 3 replicas, so d can't be used",)
