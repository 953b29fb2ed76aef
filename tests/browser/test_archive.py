"""The archive in a real browser: a conversation is exported and erased; the banner comes and goes on an open page."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import sign_in
from tests.clients import Person
from tests.hearth import Hearth

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Pair = tuple[Person, Person]


@pytest_asyncio.fixture
async def pair(hearth: Hearth, person: Callable[[str], Person]) -> Pair:
    """Juliet and romeo, online."""
    hearth.set_up()
    for name in ("juliet", "romeo"):
        hearth.add_user(name)
    hearth.start()
    juliet, romeo = person("juliet"), person("romeo")
    for client in (juliet, romeo):
        await client.goes_online()
    return juliet, romeo


@asynccontextmanager
async def no_journal(hearth: Hearth) -> AsyncIterator[None]:
    """The table that messages are written into is away."""
    with sqlite3.connect(hearth.home / "hearth.sqlite3", timeout=20, isolation_level=None) as database:
        database.execute("ALTER TABLE xmppd_journalledmessage RENAME TO away")
        yield
        database.execute("ALTER TABLE away RENAME TO xmppd_journalledmessage")


async def test_banner_on_an_open_page(page: Page, hearth: Hearth, pair: Pair, keep: Any) -> None:
    juliet, romeo = pair
    await sign_in(page, hearth)
    banners = page.locator("#problems .banner")
    banner = banners.filter(has_text="Messages cannot be kept since")
    await expect(banners).to_have_count(0)
    async with no_journal(hearth):
        juliet.says("romeo@example.org", "Art thou not Romeo?")
        await expect(banner).to_have_count(1)
        await keep("console-banner")
        await page.set_viewport_size({"width": 390, "height": 844})
        await keep("console-banner-390")
    # The writer tries again by itself: nothing is lost, and nobody has to load the page.
    await romeo.sees("message", lambda message: message["body"] == "Art thou not Romeo?")
    await expect(banner).to_have_count(0)
    # Readers failed as well, of which the database is believed after a while of calm.
    await expect(banners).to_have_count(0, timeout=30_000)


async def test_export_and_erase(page: Page, hearth: Hearth, pair: Pair, tmp_path: Path, keep: Any) -> None:
    juliet, romeo = pair
    for text in ("It is the east", "and Juliet is the sun"):
        romeo.says("juliet@example.org", text)
        await juliet.sees("message", lambda message, text=text: message["body"] == text)
    await sign_in(page, hearth)
    await page.goto(f"{hearth.console}/users/")
    await page.get_by_role("link", name="juliet").first.click()
    await page.locator(".tabs").get_by_role("link", name="Archive").click()
    await expect(page.locator("dl.facts").first).to_contain_text("2")
    await page.get_by_role("link", name="Export").click()
    await page.get_by_text("JSON Lines").click()
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Download").click()
    file = tmp_path / (await started.value).suggested_filename
    await (await started.value).save_as(file)
    assert file.name.startswith("hearth-archive-juliet@example.org-")
    bodies = [json.loads(line)["body"] for line in file.read_text().splitlines()]
    assert bodies == ["It is the east", "and Juliet is the sun"]

    await page.get_by_role("link", name="Back").click()
    await page.get_by_role("link", name="Erase").click()
    await page.get_by_text("Messages with one contact").click()
    await page.get_by_label("Contact", exact=True).fill("romeo")
    await keep("console-archive-erase")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("form.confirm")).to_contain_text("2 messages of juliet@example.org")
    erase = page.get_by_role("button", name="Erase")
    await expect(erase).to_be_disabled()
    await page.get_by_label("To confirm, type").fill("juliet")
    await erase.click()
    await expect(page.locator("#toasts")).to_contain_text("2 messages are deleted.")
    await expect(page.locator("main")).to_contain_text("No messages yet")
