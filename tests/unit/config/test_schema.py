"""The schema as a whole: frozen, described, and a JSON schema that editors can use."""

import json
from collections.abc import Iterator
from math import nan
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.config import Config, ConfigError, Problem, from_urls, json_schema, parse
from gateway.config.explain import _is_container, _section_in


def schemas_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from schemas_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from schemas_in(inner)


def sections() -> list[dict[str, Any]]:
    return [schema for schema in schemas_in(json_schema()) if "properties" in schema]


def test_a_configuration_can_not_be_changed() -> None:
    config = from_urls(["http://a"])
    with pytest.raises(ValidationError, match="frozen"):
        config.workers = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.health.fall = 3


def test_two_configurations_share_no_tables() -> None:
    assert Config().models is not Config().models


def test_every_option_is_described() -> None:
    bare = [
        (section["title"], name)
        for section in sections()
        for name, option in section["properties"].items()
        if not option.get("description")
    ]
    assert bare == []
    assert len(sections()) == 14


def options_of(section: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every option's path; the items of a list and the entries of a table stand under "*"."""
    for name, option in section.model_fields.items():
        place = (*at, name)
        yield place
        inner = _section_in(option.annotation)
        if inner is not None:
            yield from options_of(inner, (*place, "*") if _is_container(option.annotation) else place)


def placed(path: tuple[str, ...], value: object) -> dict[str, object]:
    *outer, last = path
    section: dict[str, object] = {last: value}
    for key in reversed(outer):
        if "*" not in section:
            section = {key: section}
        elif key == "models":
            section = {key: {"m": section["*"]}}
        else:
            section = {key: [section["*"]]}
    return section


WRONG: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    nan,
    10**400,
    "",
    "x",
    "\0",
    [],
    [[]],
    [{}],
    {},
    {"": 1},
    {"a": []},
)


@pytest.mark.parametrize("path", [*options_of(Config)], ids=".".join)
def test_no_value_at_an_option_is_more_than_an_error(path: tuple[str, ...]) -> None:
    refused: list[Problem] = []
    for value in WRONG:
        try:
            from_urls(["http://a"], **placed(path, value))
        except ConfigError as error:
            refused += error.problems
    assert any(problem.path[0] == path[0] for problem in refused)


def test_the_json_schema_is_json_and_refers_only_to_itself() -> None:
    schema = json.loads(json.dumps(json_schema(), allow_nan=False))
    references = {inner["$ref"] for inner in schemas_in(schema) if isinstance(inner.get("$ref"), str)}
    assert references == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_json_schema_refuses_unknown_keys_everywhere() -> None:
    assert all(section["additionalProperties"] is False for section in sections())


def test_the_json_schema_takes_a_replica_as_a_url_or_a_section() -> None:
    replica = json_schema()["$defs"]["Replica"]
    assert [part["type"] for part in replica["anyOf"]] == ["string", "object"]


def test_the_defaults_are_these() -> None:
    defaults = Config().model_dump(mode="json")
    assert defaults == {
        "listen": "127.0.0.1:8000",
        "admin": "127.0.0.1:9090",
        "admin_token_env": None,
        "admin_token_file": None,
        "client_keys_env": None,
        "client_keys_file": None,
        "workers": "auto",
        "replicas": [],
        "models": {},
        "defaults": {
            "limits": {"outstanding_per_replica": None, "queue": 1000, "queue_timeout": 30.0},
            "timeouts": {"connect": 5.0, "first_byte": 600.0, "idle": 120.0, "total": None},
            "resume": "exact",
            "priority_header": None,
            "api_key_env": None,
        },
        "limits": {
            "body": 67_108_864,
            "body_timeout": 60.0,
            "header_timeout": 30.0,
            "header_bytes": 32_768,
            "headers": 128,
            "connections_per_worker": 16_384,
        },
        "keepalive": 75.0,
        "shutdown_grace": 60.0,
        "access_log": False,
        "log_level": "info",
        "forward_authorization": False,
        "extra_routes": [],
        "health": {
            "interval": 2.0,
            "timeout": 10.0,
            "fall": 3,
            "path": "/health",
            "models_interval": 30.0,
            "metrics_interval": 2.0,
        },
        "ejection": {
            "consecutive_failures": 5,
            "base": 30.0,
            "max": 300.0,
            "panic_threshold": 0.5,
            "penalty": 5.0,
            "hang": 120.0,
        },
        "retries": {"attempts": 2, "budget": 0.2, "min_concurrent": 3},
        "resume": {"buffer_per_stream": 262_144, "buffer_per_worker": 67_108_864},
        "tracing": {"otlp_endpoint": None, "sample": 1.0},
        "gpus": None,
        "vllm_command": ["vllm"],
        "vllm_version": None,
        "launch_dir": ".vllm-gateway",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.10", "0.1 is not text (put the version in quotes: '0.32.0')"),
        ("newest", "'newest' is not a version (write '0.32.0')"),
    ],
)
def test_a_version_that_yaml_reads_as_a_number_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"replicas: ['http://a']\nvllm_version: {text}", "g")
    assert str(refused.value) == f"g:2: vllm_version: {message}"
