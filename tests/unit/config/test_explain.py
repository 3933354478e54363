"""What the schema refuses, as the user reads it."""

import pytest
from pydantic import BaseModel, ValidationError

from gateway.config.document import Document
from gateway.config.explain import explain

from .samples import problems_in

SERVED = "replicas: [http://a]\n"
"""Enough to serve, so that the next line is the only problem."""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "listen: nowhere",
            (
                "listen: 'nowhere' is not an address"
                ' (write 127.0.0.1:8000, :8000 for all interfaces, or "[::1]:8000" in quotes)'
            ),
        ),
        ("workers: 0", "workers: 0 is neither auto nor a number from 1 up"),
        ("workers: yes", "workers: true is neither auto nor a number from 1 up"),
        ("keepalive: 12x", "keepalive: '12x' is not a duration (write 30s, 5m or 500ms)"),
        ("keepalive: 0", "keepalive: must be more than 0, not 0"),
        ("keepalive:", "keepalive: an empty value is not a duration (write 30s, 5m or 500ms)"),
        ("models: [a]", "models: a list is not a section (write 'name: value' lines below it)"),
        ("limits: 5", "limits: 5 is not a section (write 'name: value' lines below it)"),
        ("extra_routes: /x", "extra_routes: '/x' is not a list (write [one, two], or one '- item' per line)"),
        ("extra_routes: [x]", "extra_routes[0]: 'x' is not a path (write /path, without host and query)"),
        ("limits: {headers: '5'}", "limits.headers: '5' is not a whole number"),
        ("limits: {headers: 1.5}", "limits.headers: 1.5 is not a whole number"),
        ("limits: {headers: yes}", "limits.headers: true is not a whole number"),
        ("limits: {headers: 0}", "limits.headers: must be at least 1, not 0"),
        (
            "limits: {body: 5M}",
            "limits.body: '5M' is ambiguous (write 5MiB for powers of 1024 or 5MB for powers of 1000)",
        ),
        ("retries: {budget: 20}", "retries.budget: must be at most 1, not 20"),
        ("retries: {budget: a}", "retries.budget: 'a' is not a number"),
        ("retries: {budget: .nan}", "retries.budget: nan is not a finite number"),
        ("forward_authorization: 1", "forward_authorization: 1 is not true or false"),
        ("log_level: loud", "log_level: 'loud' is not one of 'debug', 'info', 'warning' or 'error'"),
        ("access_log: 1", "access_log: 1 is neither a switch nor a file (write true, false or a path)"),
        (
            "access_log: [a]",
            "access_log: a list is neither a switch nor a file (write true, false or a path)",
        ),
        ("access_log: ''", "access_log: must not be empty"),
        ("launch_dir: 7", "launch_dir: 7 is not text (put it in quotes)"),
        (
            "admin_token_env: sk-secret",
            (
                "admin_token_env: is not the name of an environment variable"
                " (write the variable's name, not the secret)"
            ),
        ),
        ("vllm_command: []", "vllm_command: must not be empty"),
        ("vllm_command: [true]", "vllm_command[0]: true is not text (put it in quotes)"),
        ('vllm_command: "a \'b"', 'vllm_command: "a \'b" has an unclosed quote'),
        (
            'vllm_command: ["a\\0b"]',
            "vllm_command[0]: 'a\\x00b' has characters that no program takes as an argument",
        ),
        (
            "tracing: {otlp_endpoint: x}",
            "tracing.otlp_endpoint: 'x' is not an http or https URL (write http://10.0.0.1:8000)",
        ),
        ("gpus: [{name: H100}]", "gpus[0].memory: is missing"),
        ("gpus: [{memory: 1GiB, kind: tpu}]", "gpus[0].kind: 'tpu' is not one of 'cuda' or 'cpu'"),
        ("defaults: {resume: on}", "defaults.resume: true is not one of 'exact', 'text' or 'off'"),
        (
            "defaults: {priority_header: 'a b'}",
            "defaults.priority_header: 'a b' is not a header name (write x-priority)",
        ),
        (
            "models: {'a b': {replicas: [http://b]}}",
            (
                "models.\"a b\": the name 'a b' has a space or an unprintable character"
                " (use letters, digits and -_./:)"
            ),
        ),
        (
            "models: {a: {served_name: 7, replicas: [http://b]}}",
            "models.a.served_name: 7 is not text (put it in quotes)",
        ),
        ("models: {a: {replicas: [{weight: 2}]}}", "models.a.replicas[0].url: is missing"),
        (
            "models: {a: {replicas: [{url: http://b, weight: 0}]}}",
            "models.a.replicas[0].weight: must be more than 0, not 0",
        ),
        (
            "models: {a: {launch: {model: m, max_model_len: 32g}}}",
            (
                "models.a.launch.max_model_len: '32g' is not a number of tokens (write 32768, 32k"
                " (32000) or 32K (32768))"
            ),
        ),
        (
            "models: {a: {launch: {model: m, port: 70000}}}",
            "models.a.launch.port: must be at most 65535, not 70000",
        ),
        (
            "models: {a: {launch: {model: m, env: {A-B: 1}}}}",
            (
                "models.a.launch.env.A-B: is not the name of an environment variable"
                " (write the variable's name, not the secret)"
            ),
        ),
    ],
)
def test_a_wrong_value_is_one_sentence(line: str, message: str) -> None:
    assert problems_in(SERVED + line) == f"g:2: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("modles: {}", "modles: unknown key (did you mean 'models'?)"),
        ("shutdown-grace: 5s", "shutdown-grace: unknown key (did you mean 'shutdown_grace'?)"),
        ("aliases: [a]", "aliases: unknown key (known here: listen, admin, admin_token_env,"),
        ("fall: 3", "fall: unknown key (it belongs under 'health')"),
        ("tracing: {zzz: 1}", "tracing.zzz: unknown key (known here: otlp_endpoint, sample)"),
        (
            "models: {limits: {replicas: [http://b], limits: {quue: 1}}}",
            "models.limits.limits.quue: unknown key (did you mean 'queue'?)",
        ),
        (
            "models: {a: {replicas: [http://b], queue_timeout: 1}}",
            "models.a.queue_timeout: unknown key (it belongs under 'limits')",
        ),
        (
            "models: {a: {replicas: [{url: http://b, wieght: 1}]}}",
            "models.a.replicas[0].wieght: unknown key (did you mean 'weight'?)",
        ),
        (
            "models: {a: {replicas: [{url: http://b, api_key: sk-1}]}}",
            "models.a.replicas[0].api_key: unknown key (did you mean 'api_key_env'?)",
        ),
        (
            "models: {a: {launch: {model: m, modle: m}}}",
            "models.a.launch.modle: unknown key (did you mean 'model'?)",
        ),
        ("gpus: [{memory: 1GiB, nmae: x}]", "gpus[0].nmae: unknown key (did you mean 'name'?)"),
    ],
)
def test_an_unknown_key_says_where_it_belongs(line: str, message: str) -> None:
    assert problems_in(SERVED + line).startswith(f"g:2: {message}")


def test_a_name_of_more_than_256_bytes_is_refused() -> None:
    assert "is longer than 256 bytes" in problems_in(f"models: {{{'ä' * 129}: {{replicas: [http://a]}}}}")


def test_a_name_that_is_not_unicode_is_refused() -> None:
    message = problems_in('models: {a: {replicas: [http://a], aliases: ["\\ud800"]}}')
    assert (
        message == r"g:1: models.a.aliases[0]: '\ud800' has characters that no program takes as an argument"
    )


def test_an_error_without_a_sentence_of_ours_is_still_readable() -> None:
    class Model(BaseModel):
        at: bytes

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"at": 3})
    problems = explain(caught.value, Document({"at": 3}, {("at",): 5}), Model)
    assert [problem.render("g") for problem in problems] == ["g:5: at: 3: Input should be a valid bytes"]
