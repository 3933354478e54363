"""The README's picture of the status page: a gateway under load, with one replica down.

    python -m tests.deploy.picture [SECONDS]

Writes deploy/status-page.png after so long under load (four minutes unless told), with pngquant's help if it
is installed.
"""

import asyncio
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import yaml

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica
from tests.deploy.browser import Seen, browser
from tests.deploy.programs import DEPLOY
from tests.integration.commands import closed_port, running

PICTURE = DEPLOY / "status-page.png"
ENGINE = EngineLimits(step_s=0.03, max_num_seqs=24, prefill_tokens_per_s=9000, num_gpu_blocks=1300)
LARGE, SMALL = "qwen3-32b", "llama-3.1-8b"
ADAPTERS = (("llama-sql", "adapters/sql"), ("llama-support", "adapters/support"))
ASKED = {LARGE: 22, SMALL: 5, "llama-sql": 3, "llama-support": 2}
"""How many clients each name has."""


@asynccontextmanager
async def replicas() -> AsyncIterator[dict[str, list[SimulatedReplica]]]:
    async with AsyncExitStack() as stack:
        options = {
            LARGE: [SimOptions(LARGE, port=8000 + n, engine=ENGINE) for n in range(1, 4)],
            SMALL: [
                SimOptions(SMALL, port=8010 + n, engine=ENGINE, adapters=ADAPTERS if n == 1 else ())
                for n in range(1, 3)
            ],
        }
        yield {
            model: [await stack.enter_async_context(SimulatedReplica(each)) for each in of]
            for model, of in options.items()
        }


async def ask_for_ever(session: aiohttp.ClientSession, url: str, model: str, rng: random.Random) -> None:
    while True:
        content = "word " * rng.randint(20, 700)
        body = {"model": model, "stream": True, "max_tokens": rng.randint(20, 160)}
        body["messages"] = [{"role": "user", "content": content}]
        with suppress(aiohttp.ClientError):
            async with session.post(url, json=body) as response:
                await response.read()
        await asyncio.sleep(rng.expovariate(2.0))


async def main(seconds: float) -> None:
    listen, admin = (f"127.0.0.1:{closed_port()}" for _ in range(2))
    rng = random.Random(4)
    with TemporaryDirectory() as folder:
        async with replicas() as fleet, aiohttp.ClientSession() as session:
            models: dict[str, dict[str, object]] = {
                model: {"replicas": [each.url for each in of]} for model, of in fleet.items()
            }
            models[LARGE] |= {"aliases": ["gpt-4o-mini"], "limits": {"outstanding_per_replica": 12}}
            config = {
                "listen": listen,
                "admin": admin,
                "workers": 2,
                "shutdown_grace": "1s",
                "models": models,
            }
            file = Path(folder) / "gateway.yaml"
            file.write_text(yaml.safe_dump(config, sort_keys=False))
            async with running("serve", "-c", str(file)) as gateway:
                await gateway.said("clients:")
                url = f"http://{listen}/v1/chat/completions"
                asking = [
                    asyncio.create_task(ask_for_ever(session, url, model, rng))
                    for model, count in ASKED.items()
                    for _ in range(count)
                ]
                await asyncio.sleep(seconds * 0.8)
                fleet[LARGE][1].stop()
                await asyncio.sleep(seconds * 0.2)
                await photograph(f"http://{admin}/")
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)


async def photograph(url: str) -> None:
    async with browser(viewport={"width": 1200, "height": 700}, device_scale_factor=1.6) as context:
        seen = await Seen.open(context, url)
        await asyncio.sleep(2)
        await seen.picture(PICTURE)


def squeeze() -> None:
    if shutil.which("pngquant"):
        command = ("pngquant", "--force", "--strip", "--speed", "1", "--output", str(PICTURE), str(PICTURE))
        subprocess.run(command, check=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 240.0))
    squeeze()
