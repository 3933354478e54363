"""From the file's words to the fleet's."""

from dataclasses import replace

import pytest

from gateway.config import Secrets, parse
from gateway.control.declared import NEVER_S, plan_of, remarks_on, settings_of
from gateway.fleet.observation import DeclaredPool, Owner, PoolOptions
from gateway.fleet.snapshot import Limits, ResumeMode, Timeouts
from gateway.proxy.settings import Settings

TEXT = """
replicas: [http://c:1]
defaults: {timeouts: {idle: 7s}, resume: text}
ejection: {hang: off, base: 10s}
health: {fall: 5}
models:
  qwen:
    served_name: Qwen/Q
    aliases: [gpt]
    limits: {outstanding_per_replica: 9}
    api_key_env: POOL_KEY
    replicas: [{url: http://a:1, weight: 2, api_key_env: OWN_KEY}, http://b:1]
"""
SECRETS = Secrets(api_keys={"POOL_KEY": "pool", "OWN_KEY": "own"})


def test_a_model_becomes_a_pool_with_the_defaults_it_does_not_set_itself() -> None:
    (pool,) = plan_of(parse(TEXT, "t"), SECRETS).pools
    assert pool == DeclaredPool(
        name="qwen",
        served_name="Qwen/Q",
        aliases=("gpt",),
        options=PoolOptions(
            limits=Limits(outstanding_per_replica=9), timeouts=Timeouts(idle_s=7.0), resume=ResumeMode.TEXT
        ),
    )


def test_replicas_come_with_their_weight_their_key_and_who_said_so() -> None:
    replicas = plan_of(parse(TEXT, "t"), SECRETS).replicas
    assert [(r.url, r.owner, r.pool, r.weight, r.authorization) for r in replicas] == [
        ("http://a:1", Owner.DECLARED, "qwen", 2.0, "Bearer own"),
        ("http://b:1", Owner.DECLARED, "qwen", 1.0, "Bearer pool"),
        ("http://c:1", Owner.DISCOVERED, None, 1.0, None),
    ]


def test_a_key_is_never_shown() -> None:
    secrets = Secrets(api_keys={"POOL_KEY": "s3cret", "OWN_KEY": "s3cret"})
    assert "s3cret" not in repr(plan_of(parse(TEXT, "t"), secrets))


def test_rules_for_the_whole_fleet() -> None:
    plan = plan_of(parse(TEXT, "t"), SECRETS)
    assert (plan.fall, plan.hang_s, plan.ejection.base_s) == (5, None, 10.0)
    assert plan.defaults.timeouts.idle_s == 7.0


def test_the_defaults_of_the_file_are_the_defaults_of_the_workers() -> None:
    assert settings_of(parse("replicas: [http://a:1]", "t"), Secrets()) == Settings()


def test_hang_detection_that_is_off_never_strikes() -> None:
    assert settings_of(parse(TEXT, "t"), Secrets()).hang_s == NEVER_S


@pytest.mark.parametrize(
    ("written", "understood"),
    [("false", None), ("true", "-"), ("/var/log/gateway.log", "/var/log/gateway.log")],
)
def test_where_the_access_log_goes(written: str, understood: str | None) -> None:
    config = parse(f"replicas: [http://a:1]\naccess_log: {written}", "t")
    assert settings_of(config, Secrets()).access_log == understood


def test_workers_learn_digests_of_the_clients_keys_and_no_key() -> None:
    settings = settings_of(parse("replicas: [http://a:1]", "t"), Secrets(client_keys=("abc",)))
    assert settings.client_keys == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",)


def test_keys_for_replicas_and_none_for_clients_are_remarked_on() -> None:
    config = parse(TEXT, "t")
    (remark,) = remarks_on(config, SECRETS)
    assert remark.startswith("the gateway sends its replicas' keys for anybody who reaches 127.0.0.1:8000")
    assert list(remarks_on(config, replace(SECRETS, client_keys=("abc",)))) == []
    assert list(remarks_on(config, Secrets())) == []
