"""The dashboards as files. Whether their expressions find data is asked in `test_prometheus_live`."""

from typing import Any

import pytest
import yaml

from deploy.grafana.generate import DASHBOARDS, FOLDER, text_of
from tests.deploy.conftest import Ran
from tests.deploy.expressions import dashboard
from tests.deploy.programs import DEPLOY

pytestmark = pytest.mark.deploy

NAMES = sorted(DASHBOARDS)
PROVISIONING = DEPLOY / "grafana/provisioning"


def provisioned(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROVISIONING / name).read_text("utf-8"))
    return document


def test_the_folder_holds_these_dashboards_and_no_other() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_what_its_source_says(name: str, ran: Ran) -> None:
    written = (FOLDER / name).read_text("utf-8")
    assert written == text_of(DASHBOARDS[name]), "run: python -m deploy.grafana.generate"
    ran("grafana-foundation-sdk: dashboards built from Grafana's own types (Grafana itself did not run)")


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_the_grid_without_overlap_and_have_numbers_of_their_own(name: str) -> None:
    panels = dashboard(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_asks_something_of_the_chosen_data_source(name: str) -> None:
    for panel in dashboard(name)["panels"]:
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_provisioning_finds_the_dashboards_where_the_compose_file_puts_them() -> None:
    (provider,) = provisioned("dashboards/vllm-gateway.yml")["providers"]
    compose = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text("utf-8"))
    mounts = dict(mount.split(":")[:2] for mount in compose["services"]["grafana"]["volumes"] if "/" in mount)
    assert mounts["../grafana/dashboards"] == provider["options"]["path"]
    assert mounts["../grafana/provisioning"] == "/etc/grafana/provisioning"
    (source,) = provisioned("datasources/prometheus.yml")["datasources"]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert "PROMETHEUS_URL" in compose["services"]["grafana"]["environment"]
