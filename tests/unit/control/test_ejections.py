"""Ejections that workers made, told as events."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.control.declared import Plan
from gateway.control.ejections import EjectionNotes
from gateway.control.fleet_state import FleetState
from gateway.control.journal import Journal
from gateway.fleet.ejection import Marks
from gateway.fleet.observation import DeclaredPool, Observation, Owner
from gateway.telemetry.scoreboard import Scoreboard
from tests.unit.control.boards import Clock, small_board

A, B = "http://a:1", "http://b:1"


@dataclass
class World:
    board: Scoreboard
    state: FleetState
    journal: Journal
    clock: Clock
    notes: EjectionNotes

    def mark(self, url: str, **marks: float) -> None:
        self.board.set_marks(self.state.slots[url], Marks(**marks))  # type: ignore[arg-type]

    def told(self) -> list[tuple[str, str, str]]:
        """What a look adds to the journal."""
        before = len(self.journal.events)
        self.notes.look()
        return [(e.kind, e.replica, e.message) for e in self.journal.events[before:]]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    logging.disable(logging.CRITICAL)
    board, clock, journal = small_board(), Clock(), Journal(lambda: 5.0)
    state = FleetState(board, journal, clock)
    state.declare(plan(A, B))
    state.settle()
    yield World(board, state, journal, clock, EjectionNotes(board, state, journal, clock))
    board.close()
    logging.disable(logging.NOTSET)


def plan(*urls: str) -> Plan:
    return Plan(
        pools=(DeclaredPool(name="chat", served_name="chat"),),
        replicas=tuple(Observation(url=url, pool="chat", owner=Owner.DECLARED) for url in urls),
    )


async def test_an_ejection_is_told_once_with_its_length_and_its_end_as_well(world: World) -> None:
    assert world.told() == []
    world.mark(A, ejected_until=1030.0, round=1)
    assert world.told() == [("ejected", A, "is left out for 30 s: its requests failed one after another")]
    assert world.journal.events[-1].model == "chat"
    assert world.told() == []
    world.clock.now = 1031.0
    assert world.told() == [], "it waits for its trial"
    world.mark(A)
    assert world.told() == [("returned", A, "answers again and gets requests")]


async def test_a_trial_that_fails_is_another_ejection(world: World) -> None:
    world.mark(B, ejected_until=1030.0, round=1)
    world.told()
    world.mark(B, ejected_until=1060.0, round=2)
    assert world.told() == [("ejected", B, "is left out for 60 s: its trial request failed too")]


async def test_a_penalty_is_no_ejection(world: World) -> None:
    world.mark(A, penalised_until=1005.0, consecutive_failures=2)
    assert world.told() == []


async def test_a_hung_replica_is_told_of_by_whoever_found_it(world: World) -> None:
    world.state.set_hung(A, hung=True, silent_s=120)
    world.mark(A, ejected_until=1060.0, round=1)
    assert world.told() == []


async def test_who_left_the_fleet_is_not_told_of(world: World) -> None:
    world.mark(A, ejected_until=1030.0, round=1)
    world.told()
    world.state.declare(plan(B))
    world.state.settle()
    assert world.told() == []
