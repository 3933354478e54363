"""Slots: lowest first, never shared, and not reused before they were cleaned."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.fleet.slots import SlotTable


def test_the_lowest_free_slot_is_given_first() -> None:
    table = SlotTable(4)
    assert table.assign(["a", "b"]) == []
    assert dict(table.taken) == {"a": 0, "b": 1}


def test_those_who_stay_keep_their_slot_whatever_the_order() -> None:
    table = SlotTable(4)
    table.assign(["a", "b"])
    table.assign(["c", "b"])
    assert dict(table.taken) == {"b": 1, "c": 2}


def test_a_released_slot_is_reused_only_after_it_was_cleaned() -> None:
    table = SlotTable(1)
    table.assign(["a"])
    assert table.assign(["b"]) == ["b"]
    table.clean("a")
    assert table.assign(["b"]) == []
    assert table.taken["b"] == 0


def test_who_comes_back_before_the_cleaning_gets_the_same_slot_again() -> None:
    table = SlotTable(3)
    table.assign(["a", "b"])
    table.assign(["b"])
    assert dict(table.released) == {"a": 0}
    table.assign(["c", "b", "a"])
    assert dict(table.taken) == {"a": 0, "b": 1, "c": 2}
    assert not table.released


def test_a_full_table_names_those_it_has_no_slot_for() -> None:
    assert SlotTable(1).assign(["a", "b", "c"]) == ["b", "c"]


def test_a_key_given_twice_takes_one_slot() -> None:
    table = SlotTable(2)
    assert table.assign(["a", "a", "b"]) == []


def test_the_views_can_not_be_written() -> None:
    with pytest.raises(TypeError):
        SlotTable(1).taken["a"] = 1  # type: ignore[index]


class Tables(RuleBasedStateMachine):
    """Random fleets: no two live keys ever share a slot, dirty slots included."""

    capacity = 4

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable(self.capacity)

    @rule(keys=st.lists(st.sampled_from("abcdefgh")))
    def assign(self, keys: list[str]) -> None:
        before = dict(self.table.taken)
        homeless = self.table.assign(keys)
        assert set(self.table.taken) | set(homeless) == set(keys)
        assert all(self.table.taken[k] == slot for k, slot in before.items() if k in self.table.taken)
        if homeless:
            assert len(self.table.taken) + len(self.table.released) == self.capacity

    @precondition(lambda self: self.table.released)
    @rule(data=st.data())
    def clean(self, data: st.DataObject) -> None:
        self.table.clean(data.draw(st.sampled_from(sorted(self.table.released))))

    @invariant()
    def slots_are_distinct_and_in_range(self) -> None:
        slots = [*self.table.taken.values(), *self.table.released.values()]
        assert len(set(slots)) == len(slots)
        assert all(0 <= slot < self.capacity for slot in slots)


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=50, stateful_step_count=20)


@given(st.lists(st.text(max_size=3), unique=True, max_size=20))
def test_a_table_as_large_as_the_fleet_holds_everybody(keys: list[str]) -> None:
    table = SlotTable(len(keys))
    assert table.assign(keys) == []
    assert sorted(table.taken.values()) == list(range(len(keys)))
