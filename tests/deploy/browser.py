"""The system's Chromium, without a window, and what went wrong in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.async_api import BrowserContext, Page, async_playwright

from tests.deploy.programs import find

# No sandbox: tests in containers run as root. The rest keeps it from talking to its makers.
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DEADLINE_S = 30.0


@asynccontextmanager
async def browser(**options: Any) -> AsyncIterator[BrowserContext]:
    """A browser with a fresh profile. `options` are Playwright's of a context."""
    with TemporaryDirectory() as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile, executable_path=find("chromium"), headless=True, args=list(ARGUMENTS), **options
            )
            try:
                yield context
            finally:
                await context.close()


class Seen:
    """A page, with every complaint of the browser's and every address it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    @classmethod
    async def open(cls, context: BrowserContext, url: str) -> "Seen":
        """Open a page and wait for its first pool."""
        seen = cls(await context.new_page())
        await seen.page.goto(url)
        await seen.page.wait_for_selector(".pool")
        return seen

    def _complain(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    async def text(self, selector: str) -> str:
        """What stands there, in one line."""
        return " ".join((await self.page.locator(selector).inner_text()).split())

    async def until(self, selector: str, wanted: str) -> str:
        """Wait until a text stands there."""
        return await eventually(lambda: self.text(selector), lambda text: wanted in text)

    async def picture(self, path: Path) -> None:
        """Photograph the whole page."""
        await self.page.screenshot(path=path, full_page=True)


async def eventually(ask: Callable[[], Awaitable[str]], is_so: Callable[[str], bool]) -> str:
    """Ask until it is so."""
    last = ""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not is_so(last := await ask()):  # noqa: ASYNC110 - nothing tells of a change
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"still {last!r}") from None
    return last
