"""Every question that the dashboards and the rules ask Prometheus."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deploy.fast_motion import compressed
from tests.deploy.programs import DEPLOY

DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
RATE_WINDOW = "4s"
_VARIABLE = re.compile(r"label_values\((?P<metric>[^,]+), (?P<label>\w+)\)")


def dashboard(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards" / name).read_text("utf-8"))
    return document


def asked_by_dashboards() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression with Grafana's variables filled in as "All" fills them."""
    for path in DASHBOARDS:
        page = dashboard(path.name)
        for variable in page["templating"]["list"]:
            if variable["type"] == "query":
                found = _VARIABLE.fullmatch(variable["query"])
                assert found, variable["query"]
                yield f"{path.stem}: ${variable['name']}", f'{found["metric"]}{{{found["label"]}!=""}}'
        for panel in page["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", _filled_in(target["expr"])


def recorded() -> Iterator[tuple[str, str]]:
    """Every series that the recording rules make."""
    document = yaml.safe_load((DEPLOY / "prometheus/recording.rules.yml").read_text("utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            yield "recording rule", rule["record"]


def _filled_in(expression: str) -> str:
    for name, value in (("$__rate_interval", RATE_WINDOW), ("$model", ".+"), ("$replica", ".+")):
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return compressed(expression)
