"""A running Prometheus that reads deploy/prometheus in fast motion, and what it can be asked."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.deploy.fast_motion import compressed
from tests.deploy.programs import DEPLOY, eventually, started
from tests.integration.commands import closed_port

FILES = DEPLOY / "prometheus"
Firing = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Asks its HTTP API."""

    session: aiohttp.ClientSession
    url: str

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query that are numbers."""
        data = await self._get("query", query=expression)
        return [sample for sample in data["result"] if sample["value"][1] != "NaN"]

    async def firing(self) -> Firing:
        """The alerts that fire now: name, and whom it is about."""
        data = await self._get("alerts")
        return frozenset(
            (alert["labels"]["alertname"], alert["labels"].get("model", ""))
            for alert in data["alerts"]
            if alert["state"] == "firing"
        )

    async def targets(self, job: str) -> dict[str, dict[str, Any]]:
        """What is scraped for a job, by address."""
        data = await self._get("targets")
        return {
            target["discoveredLabels"]["__address__"]: target
            for target in data["activeTargets"]
            if target["labels"]["job"] == job
        }

    async def exemplars(self, series: str) -> list[dict[str, Any]]:
        """Those of the last minutes that it stored for a selector of series."""
        now = time.time()
        data = await self._get("query_exemplars", query=series, start=str(now - 600), end=str(now + 60))
        return [exemplar for of_series in data for exemplar in of_series["exemplars"]]

    async def _get(self, what: str, **parameters: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{what}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]


@asynccontextmanager
async def prometheus(folder: Path, admin: str, session: aiohttp.ClientSession) -> AsyncIterator[Prometheus]:
    """Prometheus on the deployed files, for the gateway whose admin listener is at `admin` (host:port)."""
    for path in FILES.glob("*.rules.yml"):
        (folder / path.name).write_text(compressed(path.read_text("utf-8")))
    configuration = (FILES / "prometheus.yml").read_text("utf-8")
    assert configuration.count("127.0.0.1:9090") == 2
    assert configuration.count(": 15s") == 3
    configuration = configuration.replace("127.0.0.1:9090", admin).replace(": 15s", ": 1s")
    (folder / "prometheus.yml").write_text(configuration)
    port = closed_port()
    async with started(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ):
        api = Prometheus(session, f"http://127.0.0.1:{port}")

        async def ready() -> bool:
            async with session.get(f"{api.url}/-/ready") as response:
                return response.status == 200

        await eventually(ready, 30.0)
        yield api
