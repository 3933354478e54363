"""What becomes of a lease that is not used."""

from random import Random

from gateway.fleet.ejection import Marks, Standing
from gateway.fleet.snapshot import Ejection, Pool, Replica, State
from gateway.proxy.live import LivePool
from gateway.telemetry.families import DISPATCHED
from gateway.telemetry.layout import Layout
from gateway.telemetry.scoreboard import Scoreboard
from gateway.telemetry.sums import read


def test_a_lease_given_back_leaves_neither_a_count_nor_a_trial_behind() -> None:
    board = Scoreboard.create(Layout(workers=1, pools=1, replicas=1))
    replica = Replica(id="http://10.0.0.1:8000", slot=0, state=State.UP, models=frozenset({"m"}))
    view = Pool(name="m", slot=0, replicas=(replica,))
    pool = LivePool(view, board, 0, Random(1))
    pool.update(view, Ejection().panic_threshold)
    board.set_marks(0, Marks(ejected_until=0.001, round=1))
    assert board.standing(0, 1.0) is Standing.TRIAL
    lease = pool.lease("m")
    assert lease is not None
    assert lease.replica.meter is not None
    lease.give_back()
    lease.give_back()
    lease.release()
    assert board.outstanding(0) == 0
    assert read(board, 1, 1).replica(0, DISPATCHED) == [0]
    assert board.marks(0).trial_since == 0.0
    board.close()
