"""`vllm-gateway serve` as a process, for tests that need the whole program."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.commands import Running, running
from tests.integration.sim_client import Reply


@dataclass(frozen=True)
class Served:
    """A running gateway and where to ask it."""

    running: Running
    port: int
    admin: str

    async def admin_text(self, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as response:
            return await response.text()

    async def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(await self.admin_text("/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"vllm_gateway_{name}" and labels.items() <= sample.labels.items()
        )

    async def conditions(self) -> dict[str, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/api/status") as response:
            return {replica["url"]: replica["condition"] for replica in (await response.json())["replicas"]}

    async def shows(self, url: str, *conditions: str) -> None:
        async with asyncio.timeout(20):
            while (await self.conditions())[url] not in conditions:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)


@asynccontextmanager
async def serve(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[Served]:
    """`vllm-gateway serve -c` on free ports."""
    file = folder / "gateway.yaml"
    own = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "workers": 1}
    file.write_text(yaml.safe_dump({**own, **config}))
    async with running("serve", "-c", str(file)) as gateway:
        await gateway.said("clients:")
        urls = [
            next(word for word in line.split() if word.startswith("http://"))
            for beginning in ("vllm-gateway ", "admin ")
            for line in gateway.lines
            if line.startswith(beginning)
        ]
        yield Served(gateway, int(urls[0].rpartition(":")[2]), urls[1])


def said(reply: Reply) -> str:
    """The text of a stream whose chunks may hold several events each."""
    events = [event + b"\n\n" for event in reply.body.split(b"\n\n") if event]
    assert events[-1] == b"data: [DONE]\n\n", events[-1]
    return Reply(head=reply.head, chunks=events).text
