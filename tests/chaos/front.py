"""The gateway as a user starts it, and what it says about itself."""

import asyncio
import os
import signal
import sys
import uuid
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.questions import ALIASES
from tests.integration.commands import Running

PREFIX = "vllm_gateway_"
MARK = "TEST_RUN"
PENALTY_S = 0.5


def configuration(pools: Mapping[str, Sequence[str]], workers: int, log: Path) -> dict[str, Any]:
    """Quick to notice and quick to forgive, so that minutes are worth a month."""
    return {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "workers": workers,
        "access_log": str(log),
        "models": {
            name: {"replicas": list(urls), "aliases": [ALIASES[name]] if name in ALIASES else []}
            for name, urls in pools.items()
        },
        "defaults": {"timeouts": {"connect": "2s", "first_byte": "30s", "idle": "4s"}},
        "health": {
            "interval": "0.4s",
            "timeout": "1s",
            "fall": 2,
            "models_interval": "2s",
            "metrics_interval": "0.4s",
        },
        "ejection": {"base": "1s", "max": "3s", "penalty": f"{PENALTY_S}s", "hang": "2.5s"},
    }


class Front:
    """A running gateway."""

    def __init__(
        self, running: Running, session: aiohttp.ClientSession, port: int, admin: str, log: Path
    ) -> None:
        self.running = running
        self.port = port
        self._log = log
        self._session = session
        self._admin = admin

    async def status(self) -> Any:
        async with self._session.get(f"{self._admin}/api/status") as response:
            return await response.json()

    async def well(self) -> set[str]:
        """The replicas that the gateway knows to be up and to have their adapter."""
        replicas = (await self.status())["replicas"]
        return {each["url"] for each in replicas if each["condition"] == "up" and each["adapters"]}

    async def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in (await self.status())["workers"] if worker["pid"] is not None]

    async def metrics(self) -> "Metrics":
        async with self._session.get(f"{self._admin}/metrics") as response:
            return Metrics(await response.text())

    def logged(self) -> list[dict[str, Any]]:
        """The access log."""
        return [orjson.loads(line) for line in self._log.read_bytes().splitlines()]

    async def descriptors(self) -> dict[str, int]:
        """Open descriptors of control and of the workers together."""
        workers = await self.worker_pids()
        return {
            "control": _descriptors([self.running.process.pid]),
            "workers": _descriptors(workers),
        }

    async def stop(self) -> int:
        """SIGTERM, and wait for the end of everything. Returns the exit status."""
        self.running.process.send_signal(signal.SIGTERM)
        status = await self.running.process.wait()
        await self.running.all_gone()
        return status


class Metrics:
    """Samples by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (sample.name.removeprefix(PREFIX), sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def total(self, name: str, **labels: str) -> int:
        """The sum over all labels that are not given."""
        return int(
            sum(
                value
                for sample, found, value in self._samples
                if sample == name and labels.items() <= found.items()
            )
        )

    def by(self, name: str, label: str) -> Counter[str]:
        """Totals by the values of one label, without those that are zero."""
        found: Counter[str] = Counter()
        for sample, labels, value in self._samples:
            if sample == name and value:
                found[labels[label]] += int(value)
        return found


@asynccontextmanager
async def serving(
    folder: Path, session: aiohttp.ClientSession, pools: Mapping[str, Sequence[str]], workers: int
) -> AsyncIterator[Front]:
    """A gateway in front of these replicas; its log is left in the folder."""
    file = folder / "gateway.yaml"
    access_log = folder / "access.log"
    file.write_text(yaml.safe_dump(configuration(pools, workers, access_log)))
    mark = uuid.uuid4().hex
    with (folder / "gateway.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "-c", str(file)),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=log,
            env={**os.environ, "COLUMNS": "100", MARK: mark},
            start_new_session=True,
        )
        running = Running(process, mark)
        try:
            await running.said("clients:")
            listens, admin = (_url(running.lines, word) for word in ("vllm-gateway ", "admin "))
            yield Front(running, session, int(listens.rpartition(":")[2]), admin, access_log)
        finally:
            for pid in running.alive():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.communicate()


def _url(lines: Sequence[str], beginning: str) -> str:
    (line,) = [line for line in lines if line.startswith(beginning)]
    return next(word for word in line.split() if word.startswith("http://"))


def _descriptors(pids: Iterable[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
