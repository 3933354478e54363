"""Whether what a configuration asks for is installed."""

import sys

import pytest

from gateway.config import parse
from gateway.terminal.extras import missing_extras

TRACED = parse("replicas: [http://a]\ntracing: {otlp_endpoint: 'http://c:4318'}", "g")


def test_tracing_without_the_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    (problem,) = missing_extras(TRACED)
    assert problem.render("gateway.yaml") == (
        "gateway.yaml: tracing.otlp_endpoint: needs OpenTelemetry's SDK, which is not installed"
        " (install vllm-gateway[otel])"
    )
    assert list(missing_extras(parse("replicas: [http://a]", "g"))) == []


def test_tracing_with_the_sdk_is_fine() -> None:
    assert list(missing_extras(TRACED)) == []
