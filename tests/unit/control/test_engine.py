"""Reading vLLM's own metrics."""

import pytest

from gateway.control.engine import EngineStats, parse

TYPICAL = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 40.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 909.0
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.7954767780210469e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 14188.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="tiny"} 4000.0
vllm:iteration_tokens_total_count{engine="0",model_name="tiny"} 4268.0
vllm:iteration_tokens_total_sum{engine="0",model_name="tiny"} 15097.0
vllm:cache_config_info{_block_size_resolved="True",block_size="128",engine="0",num_gpu_blocks="512"} 1.0
"""


def test_the_numbers_of_one_engine() -> None:
    assert parse(TYPICAL) == EngineStats(
        running=3, waiting=2, kv_usage=0.25, kv_tokens=65536, counters=(4268.0, 14188.0, 909.0)
    )


def test_several_engines_are_summed_and_their_cache_use_is_averaged() -> None:
    second = TYPICAL.replace('engine="0"', 'engine="1"').replace("0.25", "0.75")
    both = "\n".join(sorted((TYPICAL + second).splitlines())) + "\n"
    assert parse(both) == EngineStats(
        running=6, waiting=4, kv_usage=0.5, kv_tokens=131072, counters=(8536.0, 28376.0, 1818.0)
    )


def test_the_name_that_older_versions_have_for_cache_use() -> None:
    stats = parse(
        'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\nvllm:num_requests_running{model_name="m"} 1\n'
    )
    assert stats is not None
    assert (stats.kv_usage, stats.running) == (0.5, 1)


def test_a_cache_that_is_not_sized_yet_has_no_size() -> None:
    stats = parse(TYPICAL.replace('num_gpu_blocks="512"', 'num_gpu_blocks="None"'))
    assert stats is not None
    assert stats.kv_tokens is None


def test_an_exposition_without_the_engine_is_no_reading() -> None:
    assert parse("process_open_fds 34.0\n") is None
    assert parse("") is None


@pytest.mark.parametrize("value", ["many", "NaN"])
def test_a_number_that_is_none_is_an_error(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the parser's own words)
        parse(f'vllm:num_requests_running{{model_name="m"}} {value}\n')
