"""What holds in the end."""

import pytest

from gateway.config import ModelOptions, effective, parse, replica_key_env, worker_count

CONFIG = parse(
    """
    replicas: [http://x, {url: http://y, api_key_env: OWN}]
    defaults:
      limits: {queue: 5, outstanding_per_replica: 8}
      timeouts: {idle: 7s}
      resume: text
      api_key_env: DEFAULT
    models:
      plain: {replicas: [http://a]}
      own:
        replicas: [http://b, {url: http://c, api_key_env: OWN}]
        limits: {queue: 6, queue_timeout: 1s, outstanding_per_replica: null}
        timeouts: {total: 9s}
        resume: exact
        api_key_env: MODEL
    """,
    "g",
)


def test_a_model_has_the_defaults_of_the_file_where_it_sets_nothing() -> None:
    assert effective(CONFIG, "plain") == CONFIG.defaults
    assert effective(CONFIG, "plain").timeouts.connect == 5.0


def test_a_model_keeps_what_it_sets_key_by_key() -> None:
    options = effective(CONFIG, "own")
    assert (options.limits.queue, options.limits.queue_timeout) == (6, 1.0)
    assert (options.timeouts.idle, options.timeouts.total) == (7.0, 9.0)
    assert options.resume == "exact"  # the built-in default, but said: it wins over the file's default


def test_a_model_can_take_a_default_limit_away() -> None:
    assert effective(CONFIG, "plain").limits.outstanding_per_replica == 8
    assert effective(CONFIG, "own").limits.outstanding_per_replica is None


@pytest.mark.parametrize("name", ["discovered", None])
def test_a_model_that_is_not_configured_has_the_defaults(name: str | None) -> None:
    assert effective(CONFIG, name) == CONFIG.defaults


def test_options_are_those_of_any_model_and_nothing_more() -> None:
    assert type(effective(CONFIG, "own")) is ModelOptions


def test_a_replica_uses_its_own_key_then_the_models_then_the_default() -> None:
    first, second = CONFIG.models["own"].replicas
    assert replica_key_env(CONFIG, "own", second) == "OWN"
    assert replica_key_env(CONFIG, "own", first) == "MODEL"
    assert replica_key_env(CONFIG, "plain", CONFIG.models["plain"].replicas[0]) == "DEFAULT"
    assert replica_key_env(CONFIG, None, CONFIG.replicas[0]) == "DEFAULT"
    assert replica_key_env(CONFIG, None, CONFIG.replicas[1]) == "OWN"


def test_auto_leaves_a_cpu_for_control() -> None:
    assert [worker_count("auto", cpus) for cpus in (1, 2, 8)] == [1, 1, 7]
    assert worker_count(3, 1) == 3
