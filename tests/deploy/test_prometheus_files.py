"""Prometheus' own tool looks at the files that Prometheus will read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import Ran
from tests.deploy.fast_motion import compressed
from tests.deploy.programs import DEPLOY, run, version

pytestmark = pytest.mark.deploy

FILES = DEPLOY / "prometheus"
RULES = ("recording.rules.yml", "alerts.rules.yml")


def rules(name: str) -> list[dict[str, Any]]:
    document = yaml.safe_load((FILES / name).read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_promtool_accepts_the_configuration_and_the_rules(ran: Ran) -> None:
    assert "2 rule files found" in run("promtool", "check", "config", FILES / "prometheus.yml")
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *(FILES / name for name in RULES))
    run("promtool", "check", "config", DEPLOY / "docker/prometheus.yml", "--syntax-only")
    ran(f"{version('promtool', '--version')}: check config, check rules")


def test_each_alert_fires_on_made_up_series_and_only_then(ran: Ran) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", "tests.yml", cwd=FILES)
    ran("promtool: test rules, all alerts on made-up series")


def test_no_alert_is_without_a_made_up_series_that_lets_it_fire() -> None:
    cases = yaml.safe_load((FILES / "tests.yml").read_text("utf-8"))["tests"]
    fired = {
        test["alertname"] for case in cases for test in case.get("alert_rule_test", ()) if test["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules("alerts.rules.yml")}


@pytest.mark.parametrize("rule", rules("alerts.rules.yml"), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_wrong_how_urgent_it_is_and_what_to_do_first(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert all(text.strip().endswith((".", ").")) for text in rule["annotations"].values())


def test_the_copy_in_fast_motion_differs_only_in_its_durations(tmp_path: Path) -> None:
    for name in RULES:
        fast = compressed((FILES / name).read_text("utf-8"))
        (tmp_path / name).write_text(fast)
        assert "[5s]" in fast
        assert "[5m]" not in fast
        assert fast.replace("[5s]", "[5m]").count("[5m]") == (FILES / name).read_text().count("[5m]")
    run("promtool", "check", "rules", *(tmp_path / name for name in RULES))
