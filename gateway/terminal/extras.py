"""What a configuration asks for that is only there when an optional extra is installed."""

import importlib
from collections.abc import Iterator

from gateway.config import Config, Problem

SDK_MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def missing_extras(config: Config) -> Iterator[Problem]:
    """A problem for each extra that is not installed. Better now than in every worker, again and again."""
    if config.tracing.otlp_endpoint is not None and not all(map(_loads, SDK_MODULES)):
        path = ("tracing", "otlp_endpoint")
        yield Problem(
            path, None, "needs OpenTelemetry's SDK, which is not installed", "install vllm-gateway[otel]"
        )


def _loads(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
