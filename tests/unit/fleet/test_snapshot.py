"""The picture that workers get."""

import msgspec
import pytest

from gateway.fleet.snapshot import Replica, Snapshot, State


def test_a_replica_shows_its_state_and_never_its_key() -> None:
    secret = Replica(id="http://a:1", slot=0, state=State.UP, authorization="Bearer s3cret")
    assert repr(secret) == "<Replica http://a:1 up>"
    assert repr(Replica(id="b", slot=0, draining=True)) == "<Replica b starting draining>"


def test_a_snapshot_of_nothing_can_be_sent() -> None:
    assert Snapshot.decode(Snapshot(number=1).encode()) == Snapshot(number=1)


def test_what_is_not_a_snapshot_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Snapshot.decode(b'{"number": "one"}')
