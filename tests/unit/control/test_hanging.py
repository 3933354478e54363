"""Hung engines are ejected, for a while at a time, and return the moment they move."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.control.declared import Plan
from gateway.control.fleet_state import FleetState
from gateway.control.hanging import HOLD_S, HangDetector
from gateway.control.journal import Journal
from gateway.fleet.ejection import Marks, Standing
from gateway.fleet.observation import DeclaredPool, Observation
from gateway.telemetry.scoreboard import Scoreboard
from tests.unit.control.boards import Clock, set_last_byte, set_outstanding, small_board

HANG_S = 120.0
FLAT = (10.0, 20.0)


@dataclass
class Patient:
    detector: HangDetector
    state: FleetState
    board: Scoreboard
    clock: Clock

    def pass_time(self, seconds: float, counters: tuple[float, ...] | None = FLAT) -> None:
        for _ in range(int(seconds / 2)):
            self.clock.now += 2
            self.detector.sample(counters)

    @property
    def is_out(self) -> bool:
        return self.board.standing(0, self.clock.now) is Standing.OUT


@pytest.fixture
async def patient() -> AsyncIterator[Patient]:
    logging.disable(logging.CRITICAL)
    board, clock = small_board(), Clock()
    state = FleetState(board, Journal(lambda: 0.0), clock)
    state.declare(
        Plan(
            pools=(DeclaredPool(name="x", served_name="x"),),
            replicas=(Observation(url="a", pool="x"),),
            hang_s=HANG_S,
        )
    )
    state.settle()
    yield Patient(HangDetector(board, state, "a", clock), state, board, clock)
    board.close()
    logging.disable(logging.NOTSET)


async def test_a_replica_with_work_and_no_movement_is_ejected_after_the_hang_time(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S)
    assert not patient.is_out
    patient.pass_time(4)
    assert patient.is_out
    assert patient.state.find("a").seen.hung


async def test_it_stays_out_as_long_as_it_is_hung_although_each_ejection_is_short(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S + HOLD_S * 3)
    assert patient.is_out
    patient.clock.now += HOLD_S + 1  # nobody renews it any more
    assert not patient.is_out


async def test_it_stays_out_when_its_clients_have_all_given_up(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S + 4)
    set_outstanding(patient.board, 0, 0, 0)
    patient.pass_time(HOLD_S * 3)
    assert patient.is_out
    assert patient.detector.is_idle


async def test_it_returns_the_moment_a_counter_moves(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S + 4)
    patient.pass_time(2, counters=(11.0, 20.0))
    assert not patient.is_out
    assert not patient.state.find("a").seen.hung


async def test_it_returns_the_moment_a_byte_moves_between_two_samples(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S + 4)
    patient.detector.notice_byte()
    assert patient.is_out
    set_last_byte(patient.board, 0, patient.clock.now)
    patient.detector.notice_byte()
    assert not patient.is_out


async def test_a_saturated_engine_is_never_taken_for_hung(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 500)
    for step in range(300):
        patient.pass_time(2, counters=(10.0 + step // 10, 20.0))
        assert not patient.is_out


async def test_a_replica_whose_metrics_can_not_be_read_is_never_taken_for_hung(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S * 10, counters=None)
    assert not patient.is_out


async def test_nobody_counts_as_hung_when_the_operator_says_so(patient: Patient) -> None:
    set_outstanding(patient.board, 0, 0, 1)
    patient.pass_time(HANG_S + 4)
    patient.state.declare(Plan(replicas=(Observation(url="a", pool="x"),), hang_s=None))
    patient.pass_time(2)
    assert not patient.is_out


async def test_an_ejection_by_the_workers_is_not_lifted(patient: Patient) -> None:
    patient.board.set_marks(0, Marks(ejected_until=patient.clock.now + 300, round=1))
    patient.pass_time(10, counters=(11.0, 20.0))
    assert patient.is_out


async def test_a_replica_that_left_is_not_looked_at(patient: Patient) -> None:
    patient.state.declare(Plan())
    patient.state.settle()
    patient.detector.sample(FLAT)
    patient.detector.notice_byte()
    assert patient.detector.hung_for_s is None
    assert patient.detector.is_idle
