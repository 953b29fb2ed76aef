"""A real Chromium in front of a running Hearth. A page that complains (script, policy, missing file) fails its test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Response, async_playwright

from tests.clients import Person
from tests.hearth import PASSWORD, Hearth
from tests.tools import require_tool
from xmppd.bootstrap import ROOT

ARTEFACTS = ROOT / "var" / "ci-artefacts"  # not in git
PATIENCE_MS = 20_000
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture
def hearth(tmp_path: Path) -> Iterator[Hearth]:
    """Neither set up nor started."""
    hearth = Hearth(tmp_path / "home")
    yield hearth
    hearth.kill()


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Browser]:
    program = require_tool("chromium", "chromium-browser", "google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def context(chromium: Browser) -> BrowserContext:
    context = await chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    return context


@pytest_asyncio.fixture
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    page = await context.new_page()
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        # htmx logs a request that the next key press or page has replaced.
        is_replaced = re.match("htmx:(afterRequest|sendAbort),", message.text)
        if message.type in ("error", "warning") and not is_replaced:
            complaints.append(f"{page.url}: {message.text}")

    def on_response(response: Response) -> None:
        if response.status >= 400:
            complaints.append(f"{response.url}: {response.status}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("response", on_response)
    page.complaints = complaints  # type: ignore[attr-defined]
    yield page
    assert complaints == []


@pytest.fixture
def keep(page: Page) -> Callable[[str], Awaitable[Any]]:
    """keep("users"): a screenshot for the artefacts of CI."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)

    async def keep(name: str) -> None:
        await page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    return keep


@pytest_asyncio.fixture
async def person(hearth: Hearth) -> AsyncIterator[Callable[[str], Person]]:
    """person("juliet"): a slixmpp client of that account."""
    people: list[Person] = []

    def make(name: str) -> Person:
        people.append(Person(f"{name}@{hearth.domain}/slix", hearth))
        return people[-1]

    yield make
    for made in people:
        await made.disconnect(wait=0.5, ignore_send_queue=True)


async def sign_in(page: Page, hearth: Hearth) -> None:
    await page.goto(f"{hearth.console}/login/")
    await page.fill("input[name=username]", "admin")
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.wait_for_url(f"{hearth.console}/")
