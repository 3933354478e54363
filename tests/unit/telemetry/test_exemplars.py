"""The requests that buckets name: which are kept, how they are read, and how `/metrics` shows them."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.control.upkeep import zero_pool
from gateway.fleet.snapshot import Pool, Snapshot
from gateway.telemetry.exemplars import EVERY_S, ID_BYTES, Exemplar, newest
from gateway.telemetry.exposition import Facts, render
from gateway.telemetry.families import DURATION, EXEMPLIFIED, TTFT, Histogram
from gateway.telemetry.layout import CELL_BYTES, EXEMPLAR_CELLS, EXEMPLAR_OFFSETS, Layout
from gateway.telemetry.meters import PoolMeter
from gateway.telemetry.record import RequestRecord
from gateway.telemetry.scoreboard import Scoreboard

LAYOUT = Layout(workers=2, pools=3, replicas=2)
POOL = 1
FACTS = Facts(snapshot=Snapshot(number=1, pools={"chat": Pool(name="chat", slot=POOL)}), version="9.9")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(LAYOUT)
    yield board
    board.close()


def over(request_id: str, took: float, ttft: float = 0.0, *, received_at: float = 100.0) -> RequestRecord:
    record = RequestRecord(request_id, "127.0.0.1", "/v1/completions", received_at)
    record.status = 200
    record.ended_at = received_at + took
    record.first_byte_at = ttft and received_at + ttft
    return record


def finish(board: Scoreboard, record: RequestRecord, worker: int = 0, slot: int = POOL) -> None:
    PoolMeter(board, worker, slot).finished(record, gone=False)


def found(board: Scoreboard, family: Histogram = DURATION) -> dict[int, str]:
    """The ids by their buckets."""
    return {bucket: each.request_id for bucket, each in enumerate(newest(board, POOL, family)) if each}


def test_a_request_is_named_in_the_bucket_that_counts_it(board: Scoreboard) -> None:
    finish(board, over("slow", took=700.0, ttft=0.25))
    assert found(board) == {len(DURATION.bounds): "slow"}
    assert found(board, TTFT) == {TTFT.bounds.index(0.25): "slow"}
    exemplar = newest(board, POOL, TTFT)[TTFT.bounds.index(0.25)]
    assert exemplar == Exemplar(exemplar.ended_at if exemplar else 0.0, 0.25, "slow")


def test_a_request_without_a_first_byte_has_no_time_to_it(board: Scoreboard) -> None:
    finish(board, over("refused", took=0.5))
    assert found(board, TTFT) == {}


def test_a_bucket_keeps_its_request_for_a_while(board: Scoreboard) -> None:
    meter = PoolMeter(board, 0, POOL)
    for request_id, received_at in (("first", 100.0), ("too-soon", 100.0 + EVERY_S / 2)):
        meter.finished(over(request_id, 0.25, received_at=received_at), gone=False)
    assert set(found(board).values()) == {"first"}
    meter.finished(over("other-bucket", 2.0, received_at=100.0), gone=False)
    assert set(found(board).values()) == {"first", "other-bucket"}
    meter.finished(over("later", 0.25, received_at=100.0 + EVERY_S), gone=False)
    assert set(found(board).values()) == {"later", "other-bucket"}


@pytest.mark.parametrize("unfit", ["x" * (ID_BYTES + 1), 'quo"te', "back\\slash", "{brace}"])
def test_an_id_that_is_too_long_or_needs_escaping_is_not_shown(board: Scoreboard, unfit: str) -> None:
    finish(board, over(unfit, 0.25))
    assert found(board) == {}
    finish(board, over("y" * ID_BYTES, 0.25))
    assert set(found(board).values()) == {"y" * ID_BYTES}


def test_the_newest_of_all_workers_is_shown(board: Scoreboard) -> None:
    for request_id, worker in (("one", 0), ("two", 1)):
        finish(board, over(request_id, 0.25), worker)
        assert set(found(board).values()) == {request_id}


def test_one_that_is_being_written_is_none(board: Scoreboard) -> None:
    finish(board, over("half", 0.25))
    bucket = DURATION.bounds.index(0.25)
    at = LAYOUT.exemplars(0, POOL) + EXEMPLAR_OFFSETS[DURATION.name] + bucket * EXEMPLAR_CELLS
    board.cells[at] = 0
    assert found(board) == {}


def test_a_pool_s_next_owner_inherits_none(board: Scoreboard) -> None:
    finish(board, over("old", 0.25, 0.1))
    zero_pool(board, POOL)
    assert [found(board, family) for family in EXEMPLIFIED] == [{}, {}]


def test_no_count_that_routing_reads_has_one_in_it(board: Scoreboard) -> None:
    whole = board.layout.total_bytes // CELL_BYTES
    for cell in range(board.layout.exemplars(0, 0), whole):
        board.cells[cell] = -1
    assert {board.outstanding(slot) for slot in range(LAYOUT.replicas)} == {0}
    assert {board.queued(slot) for slot in range(LAYOUT.pools)} == {0}
    assert board.calm_loads(range(LAYOUT.replicas)) == [0] * LAYOUT.replicas


def test_open_metrics_shows_them_and_the_text_format_does_not(board: Scoreboard) -> None:
    finish(board, over("chatcmpl-7/a", took=0.25, ttft=0.1))
    body, _ = render(board, FACTS, 0.0, OPENMETRICS)
    shown = {
        (sample.name.removeprefix("vllm_gateway_"), sample.labels["le"]): sample.exemplar
        for family in text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    assert shown.keys() == {
        ("request_duration_seconds_bucket", "0.25"),
        ("time_to_first_token_seconds_bucket", "0.1"),
    }
    for exemplar, seconds in zip(shown.values(), (0.25, 0.1), strict=True):
        assert exemplar.labels == {"request_id": "chatcmpl-7/a"}
        assert exemplar.value == pytest.approx(seconds)
    assert not re.search(rb"_bucket.* # ", render(board, FACTS, 0.0, "*/*")[0])


@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from([0, 2]),
            st.integers(0, 1),
            st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=ID_BYTES),
            st.floats(0, 1000),
        ),
        max_size=12,
    )
)
def test_nobody_s_exemplars_touch_anybody_else_s(requests: list[tuple[int, int, str, float]]) -> None:
    board = Scoreboard.create(LAYOUT)
    finish(board, over("mine", 0.25, 0.1))
    for slot, worker, request_id, took in requests:
        finish(board, over(request_id, took, took), worker, slot)
    assert [list(found(board, family).values()) for family in EXEMPLIFIED] == [["mine"], ["mine"]]
    kept = {each.request_id for slot in (0, 2) for each in newest(board, slot, DURATION) if each}
    assert kept <= {request_id for _, _, request_id, _ in requests}
    board.close()
