"""Hung is: work, no byte, no step. Everything else is not."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.hang import Counters, Sample, Silence, listen

FLAT: Counters = (100.0, 2000.0)


def heard(*samples: Sample) -> float:
    silence: Silence | None = None
    for sample in samples:
        silence = listen(silence, sample)
    assert silence is not None
    return silence.silent_s


def at(now: float, outstanding: int = 1, last_byte: float = 0.0, counters: Counters | None = FLAT) -> Sample:
    return Sample(now, outstanding, last_byte, counters)


def test_work_without_a_byte_or_a_step_is_silence() -> None:
    assert heard(at(0), at(2), at(4), at(10)) == 10


def test_a_byte_of_any_stream_ends_the_silence() -> None:
    assert heard(at(0), at(60), at(62, last_byte=61.0)) == 0


def test_a_step_of_the_engine_ends_the_silence() -> None:
    assert heard(at(0), at(60), at(62, counters=(101.0, 2000.0))) == 0


def test_counters_that_start_again_at_zero_are_a_restart_and_end_the_silence() -> None:
    assert heard(at(0), at(60), at(62, counters=(0.0, 0.0))) == 0


def test_an_idle_replica_owes_no_sign_of_life() -> None:
    assert heard(at(0, outstanding=0), at(1000, outstanding=0)) == 0


def test_a_request_after_a_long_pause_does_not_inherit_the_pause() -> None:
    assert heard(at(0, outstanding=0, last_byte=-5), at(1000, last_byte=-5), at(1002, last_byte=-5)) == 2


def test_clients_that_give_up_and_come_back_do_not_hide_a_hang() -> None:
    assert heard(at(0), at(50), at(52, outstanding=0), at(60), at(110)) == 100


def test_without_counters_nothing_is_concluded() -> None:
    assert heard(at(0, counters=None), at(500, counters=None)) == 0
    assert heard(at(0), at(500, counters=None), at(1000, counters=None)) == 0


def test_counters_that_come_back_unchanged_count_from_then_on() -> None:
    assert heard(at(0), at(50, counters=None), at(52), at(60)) == 10


def test_counters_that_moved_while_they_could_not_be_read_end_the_silence() -> None:
    assert heard(at(0), at(50), at(52, counters=None), at(54, counters=(200.0, 1.0))) == 0


def test_counters_read_for_the_first_time_prove_nothing() -> None:
    assert heard(at(0, counters=None), at(60), at(70)) == 10


steps = st.lists(
    st.tuples(st.floats(0, 100), st.integers(0, 3), st.booleans(), st.sampled_from([True, False, None])),
    min_size=1,
)


@given(steps)
def test_silence_is_never_longer_than_the_time_since_something_moved(
    history: list[tuple[float, int, bool, bool | None]],
) -> None:
    now = last_byte = moved_at = 0.0
    count = 0.0
    silence = listen(None, Sample(now, 0, last_byte, (count,)))
    unread = False
    for passed, outstanding, byte, step in history:
        now += passed
        if byte:
            last_byte += 1
        if step:
            count += 1
        if byte or (step and not unread):
            moved_at = now
        unread = step is None
        silence = listen(silence, Sample(now, outstanding, last_byte, None if step is None else (count,)))
        if byte or step:
            assert silence.silent_s == 0
        assert 0 <= silence.silent_s <= (now - moved_at) * 1.0001
