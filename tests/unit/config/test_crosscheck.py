"""Contradictions between options: each is found, and both places are named."""

import pytest

from gateway.config import parse

from .samples import problems_in


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 1", "g: there is nothing to serve (list servers under replicas, or models under models)"),
        (
            "listen: :8000\nadmin: 127.0.0.1:8000\nreplicas: [http://a]",
            (
                "g:2: admin: '127.0.0.1:8000' can't be listened on beside ':8000': see listen on line 1"
                " (choose another port)"
            ),
        ),
        (
            "replicas: [http://a]\nadmin: :9090",
            (
                "g:2: admin: ':9090' can be reached from other machines and has no token"
                " (set admin_token_env or admin_token_file)"
            ),
        ),
        (
            "replicas: [http://a]\nadmin_token_env: T\nadmin_token_file: t",
            (
                "g:3: admin_token_file: can't be given together with another token: see admin_token_env on"
                " line 2"
                " (keep one)"
            ),
        ),
        (
            "replicas: [http://a]\nclient_keys_env: K\nclient_keys_file: k",
            (
                "g:3: client_keys_file: can't be given together with keys from the environment:"
                " see client_keys_env on line 2 (keep one)"
            ),
        ),
        (
            "models:\n  a: {replicas: [http://a]}\n  b:\n    replicas: [http://b]\n    aliases: [c, a]",
            (
                "g:5: models.b.aliases[1]: the name 'a' is already taken: see models.a on line 2"
                " (choose another name)"
            ),
        ),
        (
            "models:\n  a: {replicas: [http://a], aliases: [x]}\n  b: {replicas: [http://b], aliases: [x]}",
            (
                "g:3: models.b.aliases[0]: the name 'x' is already taken: see models.a.aliases[0] on line 2"
                " (choose another name)"
            ),
        ),
        (
            "models:\n  a:\n    aliases: [sql]\n    launch: {model: m, adapters: {sql: /p}}",
            (
                "g:4: models.a.launch.adapters.sql: the name 'sql' is already taken: see"
                " models.a.aliases[0] on line 3"
                " (choose another name)"
            ),
        ),
        (
            "replicas: [http://a:80/]\nmodels:\n  m:\n    replicas: [HTTP://A]",
            (
                "g:1: replicas[0]: 'http://a:80' is already listed: see models.m.replicas[0] on line 4"
                " (list each server once)"
            ),
        ),
        (
            "models:\n  a:\n",
            "g:2: models.a: has neither replicas nor launch (list its servers' URLs)",
        ),
        (
            "models:\n  a:\n    launch:\n      model: m\n      concurrency: 4\n      kv_cache: 1GiB",
            (
                "g:6: models.a.launch.kv_cache: can't be given together with concurrency, which also sets"
                " the size:"
                " see models.a.launch.concurrency on line 5 (keep one)"
            ),
        ),
        (
            "gpus: [{memory: 80GiB}]\nmodels:\n  a: {launch: {model: m, gpus: [1]}}",
            "g:3: models.a.launch.gpus[0]: GPU 1 is not listed: see gpus on line 1 (GPUs are counted from 0)",
        ),
        (
            "models:\n  a: {launch: {model: m, gpus: [0, 0]}}",
            (
                "g:2: models.a.launch.gpus[1]: GPU 0 is listed twice: see models.a.launch.gpus on line 2"
                " (list each GPU once)"
            ),
        ),
        (
            "models:\n  a: {launch: {model: m, gpus: [0, 1], tensor_parallel: 2, pipeline_parallel: 2}}",
            (
                "g:2: models.a.launch.tensor_parallel: one server needs 4 GPUs"
                " (tensor_parallel x pipeline_parallel)"
                " of 2 listed: see models.a.launch.gpus on line 2"
            ),
        ),
        (
            "gpus: [{memory: 80GiB}]\nmodels:\n  a: {launch: {model: m, pipeline_parallel: 2}}",
            (
                "g:3: models.a.launch.pipeline_parallel: one server needs 2 GPUs"
                " (tensor_parallel x pipeline_parallel) of 1 listed: see gpus on line 1"
            ),
        ),
        (
            "models:\n  a: {launch: {model: m, port: 65535, replicas: 2}}",
            (
                "g:2: models.a.launch.port: 2 servers from port 65535 on go past 65535:"
                " see models.a.launch.replicas on line 2"
            ),
        ),
        (
            (
                "models:\n  a: {launch: {model: m, port: 8100, replicas: 3}}\n  b: {launch: {model: m,"
                " port: 8102}}"
            ),
            (
                "g:3: models.b.launch.port: port 8102 is already taken: see models.a.launch.port on line 2"
                " (choose another port)"
            ),
        ),
        (
            "models:\n  a: {launch: {model: m, port: 8000}}",
            "g:2: models.a.launch.port: port 8000 is already taken: see listen (choose another port)",
        ),
        (
            "replicas: [http://a]\nejection: {base: 10m}",
            "g:2: ejection.base: 600s is longer than the longest ejection, 300s: see ejection.max on line 2",
        ),
        (
            "replicas: [http://a]\nresume: {buffer_per_stream: 1GiB}",
            (
                "g:2: resume.buffer_per_stream: one stream's buffer is larger than the buffer of all streams:"
                " see resume.buffer_per_worker on line 2"
            ),
        ),
    ],
)
def test_a_contradiction_names_both_places(text: str, message: str) -> None:
    assert problems_in(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "replicas: [http://a]\nadmin: :9090\nadmin_token_env: T",
        "replicas: [http://a]\nadmin: :9090\nadmin_token_file: t",
        "replicas: [http://a]\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0",
        "models: {a: {served_name: org/a, aliases: [org/a], replicas: [http://a]}}",
        "models: {a: {served_name: x, replicas: [http://a]}, b: {served_name: x, replicas: [http://b]}}",
        "models: {a: {replicas: [http://a], launch: {model: m}}}",
        "models: {a: {launch: {model: m, concurrency: 4}}, b: {launch: {model: m, kv_cache: 1GiB}}}",
        (
            "gpus: [{memory: 1GiB}, {memory: 1GiB}]\nmodels: {a: {launch: {model: m, tensor_parallel:"
            " 2, gpus: [1, 0]}}}"
        ),
        "models: {a: {launch: {model: m, tensor_parallel: 8}}}",
        "models: {a: {launch: {model: m, port: 8100, replicas: 2}}, b: {launch: {model: m, port: 8102}}}",
        "models: {a: {launch: {model: m, port: 65534, replicas: 2}}}",
    ],
)
def test_what_only_looks_like_a_contradiction_is_fine(text: str) -> None:
    parse(text, "g")


@pytest.mark.parametrize(
    ("text", "only"),
    [
        ("replicas: [nowhere]", "replicas[0].url"),
        ("model: {}", "model:"),
        ("models: {a: {replicas: [nowhere]}}", "models.a.replicas[0].url"),
        ("models: {a: {launch: {replicas: 2}}}", "models.a.launch.model"),
        ("replicas: [http://a]\nadmin: :9090\nadmin_token_env: a b", "admin_token_env"),
        ("gpus: [{memory: x}]\nmodels: {a: {launch: {model: m, tensor_parallel: 2}}}", "gpus[0].memory"),
    ],
)
def test_what_follows_from_another_problem_is_not_said_again(text: str, only: str) -> None:
    message = problems_in(text)
    assert "\n" not in message
    assert only in message


def test_a_contradiction_is_found_beside_wrong_values_and_at_its_own_index() -> None:
    text = (
        "replicas:\n  - nowhere\n  - {weight: 2}\n  - http://a\n  - {url: nowhere, weight: x}\n  - http://a\n"
    )
    assert problems_in(text).splitlines() == [
        "g:2: replicas[0].url: 'nowhere' is not an http or https URL (write http://10.0.0.1:8000)",
        "g:3: replicas[1].url: is missing",
        "g:5: replicas[3].url: 'nowhere' is not an http or https URL (write http://10.0.0.1:8000)",
        "g:5: replicas[3].weight: 'x' is not a number",
        (
            "g:6: replicas[4]: 'http://a:80' is already listed: see replicas[2] on line 4"
            " (list each server once)"
        ),
    ]
