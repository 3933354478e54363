"""How long to wait before a worker is started again."""

from gateway.control.workers import next_pause


def test_a_worker_that_served_for_a_while_is_replaced_at_once() -> None:
    assert next_pause(5.0, lived_s=60.0) == 0.0


def test_workers_that_die_at_once_are_started_with_growing_pauses() -> None:
    pauses, pause = [], 0.0
    for _ in range(8):
        pause = next_pause(pause, lived_s=0.1)
        pauses.append(round(pause, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
