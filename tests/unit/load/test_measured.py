"""What clients saw, kept by the second."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.llm.measured import Histogram, Timeline
from loadtests.llm.stream import StreamedAnswer

durations = st.floats(1e-5, 1e4)


def streamed(gaps_s: list[float], tokens: int, **more: object) -> StreamedAnswer:
    """An answer that began at 0 of its clock, its first token after half a second."""
    last = 0.5 + sum(gaps_s)
    return StreamedAnswer(began=0.0, first=0.5, last=last, gaps_s=gaps_s, tokens=tokens, **more)  # type: ignore[arg-type]


@given(st.lists(durations, min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_right_to_one_percent(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found = histogram.quantile(share)
    ranked = enumerate(sorted(values), 1)
    exact = next(value for rank, value in ranked if rank >= share * len(values) - 1e-9)
    assert found == pytest.approx(exact, rel=0.0101)


def test_nothing_has_no_quantile_and_no_time_at_all_is_a_small_one() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    histogram.add(0.0)
    assert histogram.quantile(0.5) == pytest.approx(1e-6, rel=0.02)


def test_each_token_counts_when_it_came() -> None:
    timeline = Timeline()
    timeline.streamed(streamed([1.0, 1.0], 3, prompt_tokens=7), began=100.2, ended=102.9)
    seen = [timeline.between(second, second + 1)[0] for second in (100, 101, 102)]
    assert [each.output_tokens for each in seen] == [1, 1, 1]
    assert [each.requests for each in seen] == [0, 0, 1]
    assert [sum(each.itl.counts.values()) for each in seen] == [0, 1, 1]
    assert seen[0].ttft.quantile(0.5) == pytest.approx(0.5, rel=0.01)
    assert seen[2].prompt_tokens == 7
    assert seen[2].answer.quantile(0.5) == pytest.approx(2.7, rel=0.01)


def test_tokens_are_as_many_as_the_usage_says() -> None:
    """An event may carry several: speculative decoding, or an engine that sends every few steps."""
    timeline = Timeline()
    timeline.streamed(streamed([1.0], 8), began=100.0, ended=102.0)
    assert timeline.between(100, 103)[0].output_tokens == 8


def test_failures_and_hang_ups_have_no_time_to_answer() -> None:
    timeline = Timeline()
    timeline.streamed(streamed([], 1, problem="broken"), 100.0, 101.0)
    timeline.streamed(streamed([], 1, left=True), 100.0, 101.0)
    timeline.streamed(StreamedAnswer(0.0, problem="status 503"), 100.0, 101.0)
    timeline.answered(100.0, 101.0, 0, failed=True)
    total, _ = timeline.between(100, 102)
    assert (total.requests, total.failures, total.answer.counts) == (4, 3, {})


def test_only_whole_slots_count() -> None:
    timeline = Timeline()
    for second in range(100, 105):
        timeline.answered(0.0, second + 0.2, 10, failed=False)
    total, seconds = timeline.between(100.3, 103.9)
    assert (total.requests, seconds) == (3, 3.0)
    assert timeline.between(101.1, 101.9)[1] == 0.0


def test_what_workers_send_adds_up_to_what_one_would_have_seen() -> None:
    alone, master, workers = Timeline(), Timeline(), (Timeline(), Timeline())
    for number in range(40):
        answer = streamed([0.1 * number, 0.3], 3, prompt_tokens=number)
        for timeline in (alone, workers[number % 2]):
            timeline.streamed(answer, 100.0 + number / 7, 101.0 + number / 7)
    for worker, percent in zip(workers, (40.0, 60.0), strict=True):
        worker.used_cpu(100.5, percent)
        master.merge(msgspec.msgpack.decode(msgspec.msgpack.encode(worker.drain())))
        assert worker.drain() == {}
    together, _ = master.between(100, 200)
    assert together.locust_cpu == 60.0
    expected, _ = alone.between(100, 200)
    expected.locust_cpu = 60.0
    assert together.output_tokens == pytest.approx(expected.output_tokens)
    assert (together.ttft, together.itl, together.answer) == (expected.ttft, expected.itl, expected.answer)
    assert (together.requests, together.prompt_tokens) == (expected.requests, expected.prompt_tokens)
