"""The status page as a browser shows it, in front of a real gateway and simulated replicas."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica
from tests.deploy.browser import Seen, browser, eventually
from tests.deploy.conftest import Ran
from tests.deploy.fleet import Clients
from tests.deploy.programs import version
from tests.integration.commands import Running, closed_port, running

pytestmark = pytest.mark.deploy

ENGINE = EngineLimits(step_s=0.02, max_num_seqs=8, num_gpu_blocks=400)
ADAPTER = "<b>sql</b>"
TOKEN = "correct-horse"
NO_VALUE = "\u2013"
WIDTHS = (320, 390, 600, 820, 1100)

OUTSIDE = """[...document.querySelectorAll("button, td, .chip, .values")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth)
    .map((each) => each.outerHTML)"""
BRIGHTNESS = """getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3)
    .reduce((sum, channel) => sum + Number(channel), 0) / 3"""


@dataclass
class Scene:
    """A gateway in front of two models: `chat` on two replicas, one with an adapter, and `code` on one."""

    file: Path
    admin: str
    listen: str
    chat: list[SimulatedReplica]
    code: SimulatedReplica

    @property
    def url(self) -> str:
        return f"http://{self.admin}/"

    @asynccontextmanager
    async def serving(self, **environment: str) -> AsyncIterator[Running]:
        async with running("serve", "-c", str(self.file), **environment) as gateway:
            await gateway.said("clients:")
            yield gateway

    def row(self, replica: SimulatedReplica) -> str:
        """The selector of a replica's row."""
        return f".replicas tr:has-text('127.0.0.1:{replica.port}')"


@asynccontextmanager
async def scene(folder: Path, **more: object) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:

        async def replica(model: str, *adapters: str) -> SimulatedReplica:
            options = SimOptions(model, adapters=tuple((name, name) for name in adapters), engine=ENGINE)
            return await stack.enter_async_context(SimulatedReplica(options))

        chat, code = [await replica("chat", ADAPTER), await replica("chat")], await replica("code")
        listen, admin = (f"127.0.0.1:{closed_port()}" for _ in range(2))
        config = {
            "listen": listen,
            "admin": admin,
            "workers": 1,
            "shutdown_grace": "1s",
            "models": {
                "chat": {"replicas": [each.url for each in chat], "aliases": ["gpt-4o"]},
                "code": {"replicas": [code.url]},
            },
            **more,
        }
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(config))
        yield Scene(file, admin, listen, chat, code)


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[tuple[Scene, Seen]]:
    """A served scene and its page; at the end the browser must have had nothing to complain of."""
    async with (
        scene(tmp_path) as it,
        it.serving(),
        browser(viewport={"width": 1280, "height": 900}) as context,
    ):
        seen = await Seen.open(context, it.url)
        yield it, seen
        assert seen.complaints == []
        assert {url for url in seen.asked if not url.startswith((it.url, "data:"))} == set()


async def test_models_replicas_and_names_are_there_and_names_are_only_text(
    shown: tuple[Scene, Seen], ran: Ran
) -> None:
    it, seen = shown
    ran(f"{version('chromium', '--version').strip()}: the status page, under load and with faults")
    await seen.until("#verdict", "all 3 replicas are up")
    chat = await seen.until(".pool >> nth=0", "2 of 2 usable")
    assert "gpt-4o alias of chat" in chat
    assert f"{ADAPTER} adapter" in chat
    for replica in (*it.chat, it.code):
        assert (await seen.text(it.row(replica))).startswith("up")
    assert ADAPTER in await seen.text(it.row(it.chat[0]))
    assert await seen.page.locator(".pool b:text-is('sql')").count() == 0
    assert await seen.text("#live") == "live"
    assert await seen.page.locator("#workers tr").count() == 2
    assert "is up" in await seen.text("#events")


async def test_load_shows_in_figures_and_charts_and_a_pointer_asks_the_past(
    shown: tuple[Scene, Seen],
) -> None:
    it, seen = shown
    async with aiohttp.ClientSession() as session:
        clients = Clients(session, it.listen)
        clients.come("chat", 4, pause_s=0.05)
        line = ".pool >> nth=0 >> .chart >> nth=1 >> path.first"
        await eventually(lambda: seen.page.locator(line).get_attribute("d"), lambda d: "L" in (d or ""))  # type: ignore[arg-type,return-value]
        for number, unit in enumerate(("per s", "p50", "p50", "at replicas")):
            values = await seen.until(f".pool >> nth=0 >> .chart >> nth={number} >> .values", unit)
            assert NO_VALUE not in values
        await eventually(lambda: seen.text(".tile >> nth=1 >> b"), lambda outstanding: int(outstanding) > 0)
        plot = seen.page.locator(".pool >> nth=0 >> .plot >> nth=0")
        await plot.hover()
        await seen.until(".pool >> nth=0 >> .chart h4 >> nth=0", "ago")
        await clients.leave()


async def test_a_replica_that_dies_says_why_and_since_when_and_comes_back(shown: tuple[Scene, Seen]) -> None:
    it, seen = shown
    it.chat[1].stop()
    row = await seen.until(it.row(it.chat[1]), "refused")
    assert "connection refused · for" in row
    await seen.until("#verdict", "1 of 3 replicas not in use")
    await seen.until(".pool >> nth=0", "1 of 2 usable")
    await seen.until("#events", "is refused: connection refused")
    it.code.stop()
    await seen.until("#verdict", "no usable replica for code")
    await it.chat[1].start()
    await it.code.start()
    await seen.until("#verdict", "all 3 replicas are up")


async def test_failed_requests_and_the_ejection_they_lead_to_are_told(shown: tuple[Scene, Seen]) -> None:
    it, seen = shown
    it.code.set_faults(status=500)
    async with aiohttp.ClientSession() as session:
        clients = Clients(session, it.listen)
        clients.come("code", 3)
        await seen.until("#events", "is left out for")
        await clients.leave()
    assert "answered HTTP 500 (request " in await seen.text("#events")
    assert "requests to it failed · tried again in" in await seen.text(it.row(it.code))
    assert (await seen.text(it.row(it.code))).startswith("ejected")


async def test_the_second_click_drains_and_the_next_takes_it_back(shown: tuple[Scene, Seen]) -> None:
    it, seen = shown
    button = seen.page.locator(it.row(it.chat[0])).get_by_role("button")
    await button.click()
    assert await button.inner_text() == f"Drain the only one with {ADAPTER}?"
    assert (await seen.text(it.row(it.chat[0]))).startswith("up")
    await button.click()
    await seen.until(it.row(it.chat[0]), "drained")
    assert f"127.0.0.1:{it.chat[0].port} gets no new requests." in await seen.text("#said")
    await seen.until(".pool >> nth=0", "1 of 2 usable")
    assert await button.inner_text() == "Undrain"
    await button.click()
    await seen.until(it.row(it.chat[0]), "up")
    last = seen.page.locator(it.row(it.code)).get_by_role("button")
    await last.click()
    assert await last.inner_text() == "Drain the last one?"


async def test_a_gateway_that_is_gone_is_said_and_found_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as it, browser() as context:
        async with it.serving():
            seen = await Seen.open(context, it.url)
        await seen.until("#live", "no news for")
        async with it.serving():
            await seen.until("#live", "live")


async def test_nothing_runs_out_of_the_side_of_any_screen(tmp_path: Path) -> None:
    async with scene(tmp_path) as it, it.serving(), browser() as context:
        seen = await Seen.open(context, it.url)
        it.chat[1].stop()
        await seen.until(it.row(it.chat[1]), "refused")
        for width in WIDTHS:
            await seen.page.set_viewport_size({"width": width, "height": 800})
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width
            assert await seen.page.evaluate(OUTSIDE) == []


async def test_it_is_light_or_dark_as_its_reader_s_screen_is(tmp_path: Path) -> None:
    async with scene(tmp_path) as it, it.serving(), browser() as context:
        seen = await Seen.open(context, it.url)
        await seen.page.emulate_media(color_scheme="light")
        assert await seen.page.evaluate(BRIGHTNESS) > 220
        await seen.page.emulate_media(color_scheme="dark")
        assert await seen.page.evaluate(BRIGHTNESS) < 40


async def test_with_a_token_the_browser_s_own_question_is_enough(tmp_path: Path) -> None:
    login = {"username": "anyone", "password": TOKEN}
    async with (
        scene(tmp_path, admin_token_env="ADMIN_TOKEN") as it,
        it.serving(ADMIN_TOKEN=TOKEN),
        browser(http_credentials=login) as context,
    ):
        async with aiohttp.ClientSession() as session, session.get(it.url) as refused:
            assert refused.status == 401
        seen = await Seen.open(context, it.url)
        await seen.until("#live", "live")
        button = seen.page.locator(it.row(it.code)).get_by_role("button")
        await button.click()
        await button.click()
        await seen.until(it.row(it.code), "drained")
