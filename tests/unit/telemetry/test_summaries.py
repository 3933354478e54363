"""Quantiles and rates from counter deltas."""

import math
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.snapshot import Pool
from gateway.telemetry.families import BROKEN, CODES, REQUESTS, RETRIES, SHED, TTFT
from gateway.telemetry.layout import POOL_OFFSETS, Layout
from gateway.telemetry.scoreboard import Scoreboard
from gateway.telemetry.summaries import History, Summary, Trouble, quantile
from gateway.telemetry.sums import read

LAYOUT = Layout(workers=2, pools=4, replicas=1)
CHAT = Pool(name="chat", slot=1)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(LAYOUT)
    yield board
    board.close()


def count(board: Scoreboard, family: str, cell: int, times: int, slot: int = CHAT.slot) -> None:
    board.cells[LAYOUT.pool(0, slot) + POOL_OFFSETS[family] + cell] += times


def record(history: History, now: float, board: Scoreboard, pools: Sequence[Pool] = (CHAT,)) -> None:
    history.record(now, pools, read(board, LAYOUT.pools, 0))


def summary(history: History, now: float, board: Scoreboard, pool: Pool = CHAT) -> Summary:
    return history.summary(now, pool, read(board, LAYOUT.pools, 0))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 0, 0, 0], None),
        ([10, 0, 0, 0], 0.5),
        ([0, 10, 0, 0], 1.5),
        ([5, 0, 5, 0], 1.0),
        ([1, 0, 0, 9], 4.0),
    ],
    ids=["no observations", "first bucket", "middle of a bucket", "edge of a gap", "above all bounds"],
)
def test_the_median_is_interpolated_within_its_bucket(counts: list[int], expected: float | None) -> None:
    assert quantile(0.5, (1.0, 2.0, 4.0), counts) == expected


@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_grow_with_q_and_stay_within_the_bounds(counts: list[int], a: float, b: float) -> None:
    bounds = (0.1, 0.5, 1.0, 5.0)
    low, high = quantile(min(a, b), bounds, counts), quantile(max(a, b), bounds, counts)
    if low is None or high is None:
        assert sum(counts) == 0
        return
    assert 0 <= low <= high <= bounds[-1] or math.isclose(low, high)


def test_rates_are_what_was_added_since_the_sample(board: Scoreboard) -> None:
    history = History()
    count(board, REQUESTS.name, CODES.index("200"), 1000)
    record(history, 100.0, board)
    count(board, REQUESTS.name, CODES.index("200"), 30)
    count(board, REQUESTS.name, CODES.index("503"), 10)
    found = summary(history, 110.0, board)
    assert (found.requests_per_s, found.server_errors_per_s) == (4.0, 1.0)


def test_rates_look_back_a_minute_and_quantiles_five(board: Scoreboard) -> None:
    history = History()
    record(history, 0.0, board)
    count(board, REQUESTS.name, 0, 6000)
    count(board, TTFT.name, TTFT.bounds.index(0.1), 1)
    record(history, 200.0, board)
    count(board, REQUESTS.name, 0, 60)
    found = summary(history, 260.0, board)
    assert found.requests_per_s == 1.0
    assert found.time_to_first_token.p50_s == pytest.approx(0.075)


def test_quantiles_forget_what_was_before_the_window(board: Scoreboard) -> None:
    history = History(window_s=60)
    slow, fast = TTFT.bounds.index(60), TTFT.bounds.index(0.1)
    for now in (0.0, 10.0):
        count(board, TTFT.name, slow, 1000)
        record(history, now, board)
    count(board, TTFT.name, fast, 10)
    assert summary(history, 70.0, board).time_to_first_token.p95_s == pytest.approx(0.0975)


def test_samples_beyond_the_window_are_dropped(board: Scoreboard) -> None:
    history = History(window_s=10)
    for now in range(100):
        record(history, float(now), board)
    assert len(history) == 11


def test_without_an_earlier_sample_nothing_is_said(board: Scoreboard) -> None:
    history = History()
    assert summary(history, 1.0, board) == Summary()
    record(history, 1.0, board)
    assert summary(history, 1.0, board) == Summary()
    assert summary(history, 2.0, board, Pool(name="another", slot=1)) == Summary()


def test_a_name_that_moved_to_another_slot_starts_anew(board: Scoreboard) -> None:
    history = History()
    count(board, REQUESTS.name, 0, 500, slot=1)
    count(board, REQUESTS.name, 0, 100, slot=2)
    moved = Pool(name="chat", slot=2)
    record(history, 0.0, board)
    assert summary(history, 10.0, board, moved) == Summary()
    record(history, 10.0, board, [moved])
    count(board, REQUESTS.name, 0, 10, slot=2)
    assert summary(history, 20.0, board, moved).requests_per_s == 1.0


def test_a_slot_that_was_zeroed_counts_from_zero(board: Scoreboard) -> None:
    history = History()
    count(board, REQUESTS.name, 0, 500)
    record(history, 0.0, board)
    count(board, REQUESTS.name, 0, -480)
    assert summary(history, 10.0, board).requests_per_s == 2.0


def test_troubles_are_what_went_wrong_in_the_window_by_kind_and_reason(board: Scoreboard) -> None:
    history = History()
    count(board, RETRIES.name, RETRIES.values.index("connect"), 100)
    record(history, 0.0, board)
    count(board, RETRIES.name, RETRIES.values.index("connect"), 3)
    count(board, BROKEN.name, 0, 1)
    count(board, SHED.name, SHED.values.index("queue_full"), 2)
    assert summary(history, 60.0, board).troubles == (
        Trouble("broken_streams", "", 1),
        Trouble("retries", "connect", 3),
        Trouble("shed", "queue_full", 2),
    )


def test_a_moment_is_the_last_quarter_of_a_minute(board: Scoreboard) -> None:
    history = History()
    count(board, TTFT.name, TTFT.bounds.index(60), 1000)
    for now in (0.0, 5.0, 10.0, 15.0):
        count(board, REQUESTS.name, 0, 10)
        record(history, now, board)
    count(board, TTFT.name, TTFT.bounds.index(0.1), 1)
    found = history.moment(20.0, CHAT, read(board, LAYOUT.pools, 0))
    assert found.requests_per_s == pytest.approx(20 / 15)
    assert found.time_to_first_token.p50_s == pytest.approx(0.075)
