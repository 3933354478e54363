"""Writes the dashboards' JSON beside this file: `python -m deploy.grafana.generate`, from the root.

The JSON is kept in the repository, so that deploying needs no Python; a test says when it is out of date.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.capacity import CAPACITY
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.replica import ONE_REPLICA
from deploy.grafana.vocabulary import Dashboard, build

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: Mapping[str, Dashboard] = {
    "overview.json": OVERVIEW,
    "replica.json": ONE_REPLICA,
    "capacity.json": CAPACITY,
}


def text_of(page: Dashboard) -> str:
    """A dashboard as Grafana reads it from a file."""
    return json.dumps(build(page), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in DASHBOARDS.items():
        (FOLDER / name).write_text(text_of(page), encoding="utf-8")
        print(f"{page.title}: {sum(len(row.panels) for row in page.rows)} panels")


if __name__ == "__main__":
    main()
