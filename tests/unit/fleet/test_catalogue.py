"""The pools and names of a snapshot, with slots."""

from gateway.fleet.catalogue import assemble, draw
from gateway.fleet.snapshot import Snapshot, State
from tests.unit.fleet.fleets import DEFAULTS, adapter, base, declared, seen


def test_a_pool_carries_its_options_and_its_replicas_as_they_were_seen() -> None:
    catalogue = draw(
        [declared("qwen")],
        [
            seen("a", base("qwen"), adapter("sql", "qwen"), pool="qwen"),
            seen("b", base("qwen"), pool="qwen", state=State.REFUSED, draining=True),
            seen("c", pool="qwen", read=False, state=State.STARTING),
            seen("d", base("other")),
        ],
        DEFAULTS,
    )
    pools, names = assemble(catalogue, {"qwen": 3, "other": 0}, {"a": 7, "b": 8, "c": 9, "d": 2})
    assert catalogue.pool_names == ("qwen", "other") == tuple(pools)
    assert (pools["qwen"].slot, pools["other"].slot) == (3, 0)
    assert pools["other"].priority_header == "x-default"
    assert pools["qwen"].priority_header is None
    assert [repr(r) for r in pools["qwen"].replicas] == [
        "<Replica a up>",
        "<Replica b refused draining>",
        "<Replica c starting>",
    ]
    assert [(r.slot, r.models) for r in pools["qwen"].replicas] == [
        (7, {"qwen", "sql"}),
        (8, {"qwen"}),
        (9, frozenset()),
    ]
    assert set(names) == {"qwen", "sql", "other"}


def test_what_found_no_slot_is_left_out_with_its_names() -> None:
    catalogue = draw([], [seen("a", base("x")), seen("b", base("x")), seen("c", base("y"))], DEFAULTS)
    pools, names = assemble(catalogue, {"x": 0}, {"a": 0})
    assert [r.id for r in pools["x"].replicas] == ["a"]
    assert set(pools) == set(names) == {"x"}


def test_a_snapshot_survives_the_road_to_a_worker() -> None:
    catalogue = draw([declared("qwen", "Q", "alias")], [seen("a", base("Q"), pool="qwen")], DEFAULTS)
    pools, names = assemble(catalogue, {"qwen": 0}, {"a": 0})
    snapshot = Snapshot(number=4, pools=pools, names=names)
    assert Snapshot.decode(snapshot.encode()) == snapshot
